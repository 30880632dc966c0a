from datetime import timedelta

import pytest
from tests.factories import NOW, make_hardware, make_node, make_pool, make_user
from tests.signing import REPORT, make_key

from longboard.errors import BadRequest, Conflict, NotAllowed, Unauthorised
from longboard.fleet import services
from longboard.fleet.models import Node

pytestmark = pytest.mark.django_db


def enrol(code, name="box", key=None, now=NOW):
    public = key or make_key()[1]
    return services.enrol(code=code, name=name, public_key=public, report=REPORT, software={}, now=now)


@pytest.fixture
def owner():
    return make_user()


@pytest.fixture
def code(owner):
    return services.make_enrolment_code(pool=make_pool("mine", owner=owner), actor=owner, now=NOW)


def test_a_code_lets_one_machine_join_once(code):
    enrolled = enrol(code)
    assert enrolled.node.pool.slug == "mine"
    assert services.node_of_token(secret=enrolled.token, now=NOW).pk == enrolled.node.pk
    with pytest.raises(Unauthorised, match="spent"):
        enrol(code, name="second")


def test_a_code_older_than_an_hour_is_refused(code):
    with pytest.raises(Unauthorised):
        enrol(code, now=NOW + timedelta(hours=1))


def test_a_refused_enrolment_does_not_spend_the_code(code, owner):
    gpu_pool = make_pool("gpu", hardware=make_hardware("gpu", kind="cuda"), owner=owner)
    gpu_code = services.make_enrolment_code(pool=gpu_pool, actor=owner, now=NOW)
    with pytest.raises(BadRequest, match="of its own hardware"):
        enrol(gpu_code)
    make_node(make_pool("mine"), name="box")
    with pytest.raises(Conflict, match='already has a node named "box"'):
        enrol(code)
    assert enrol(code, name="other").node.name == "other"


def test_one_key_is_one_node(code, owner):
    key = make_key()[1]
    enrol(code, key=key)
    again = services.make_enrolment_code(pool=make_pool("mine"), actor=owner, now=NOW)
    with pytest.raises(Conflict, match="registered already"):
        enrol(again, name="twin", key=key)


def test_only_the_pools_owner_and_staff_make_codes():
    pool = make_pool("mine", owner=make_user())
    with pytest.raises(NotAllowed):
        services.make_enrolment_code(pool=pool, actor=make_user(), now=NOW)
    assert services.make_enrolment_code(pool=pool, actor=make_user(is_staff=True), now=NOW).startswith("lbe_")


def test_a_revoked_node_is_refused_from_the_next_call_on_and_for_good(code, owner):
    enrolled = enrol(code)
    services.set_node_state(node=enrolled.node, state=Node.State.REVOKED, actor=owner)
    with pytest.raises(Unauthorised, match="was revoked"):
        services.node_of_token(secret=enrolled.token, now=NOW)
    with pytest.raises(Conflict, match="final"):
        services.set_node_state(node=enrolled.node, state=Node.State.ACTIVE, actor=owner)


def test_secrets_are_stored_as_digests_alone(code):
    enrolled = enrol(code)
    row = str(vars(Node.objects.get()))
    assert enrolled.token not in row
    assert code not in row


def test_being_heard_from_keeps_a_node_alive(code):
    enrolled = enrol(code)
    services.node_of_token(secret=enrolled.token, now=NOW + timedelta(minutes=10))
    node = Node.objects.get()
    assert node.is_alive(NOW + timedelta(minutes=11))
    assert not node.is_alive(NOW + timedelta(minutes=13))
