"""The site's own process beside its children."""

import logging

from longboard.embedded.supervisor import Supervisor


def test_what_the_site_logs_goes_to_a_file_so_that_its_address_stays_on_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler()])
    Supervisor(tmp_path / "logs", {}).log_here("up")
    logging.getLogger("longboard.results.services").warning("bundle stored", extra={"node": "h200"})
    assert "results.services: bundle stored node=h200" in (tmp_path / "logs/up.log").read_text()
    assert capsys.readouterr().err == ""
