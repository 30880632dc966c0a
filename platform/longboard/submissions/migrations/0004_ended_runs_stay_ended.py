"""PostgreSQL refuses a change of a Run's state that submissions.transitions does not list, whoever writes it."""

from django.db import migrations

CREATE = """
CREATE FUNCTION longboard_run_state_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state IN ('accepted', 'failed', 'cancelled', 'rejected') THEN
        IF NEW.state <> 'queued' OR NEW.round <> OLD.round + 1 THEN
            RAISE EXCEPTION 'run %: % is an end; only a new round leaves it, to queued', OLD.id, OLD.state
                USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NOT (
        (OLD.state = 'queued' AND NEW.state IN ('leased', 'cancelled', 'accepted'))
        OR (OLD.state = 'leased' AND NEW.state IN ('running', 'queued', 'failed', 'cancelled', 'accepted'))
        OR (OLD.state = 'running' AND NEW.state IN ('uploaded', 'queued', 'failed', 'cancelled', 'accepted'))
        OR (OLD.state = 'uploaded' AND NEW.state IN ('accepted', 'rejected'))
    ) THEN
        RAISE EXCEPTION 'run %: % does not become %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER longboard_run_state_guard BEFORE UPDATE OF state ON submissions_run
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION longboard_run_state_guard();
"""
DROP = """
DROP TRIGGER IF EXISTS longboard_run_state_guard ON submissions_run;
DROP FUNCTION IF EXISTS longboard_run_state_guard();
"""


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE, params=None)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP, params=None)


class Migration(migrations.Migration):
    dependencies = [("submissions", "0003_rounds_and_quota")]
    operations = [migrations.RunPython(create, drop)]
