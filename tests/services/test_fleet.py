from datetime import timedelta

import pytest
from tests.factories import NOW, make_hardware, make_node, make_pool, make_run, make_user
from tests.signing import REPORT, make_key

from longboard.errors import BadRequest, Conflict, NotAllowed, Unauthorised
from longboard.fleet import credentials, services
from longboard.fleet.models import Node
from longboard.submissions import lease
from longboard_tasks.contract import SelfTestReport

pytestmark = pytest.mark.django_db


def enrol(code, name="box", key=None, now=NOW, report=REPORT, self_test=None):
    public = key or make_key()[1]
    return services.enrol(
        code=code, name=name, public_key=public, report=report, software={}, now=now, self_test=self_test
    )


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


# --- approval --------------------------------------------------------------------------------------------------------


def self_test(**fields):
    known = {"passed": True, "reason": "It scored 1.00.", "model": "llama-3m", "cache_key": "0" * 64}
    return SelfTestReport(**(known | fields))


def test_a_node_with_a_good_self_test_is_active_at_once(code):
    node = enrol(code, self_test=self_test()).node
    assert (node.state, node.self_test["passed"]) == (Node.State.ACTIVE, True)


def test_a_code_that_asks_for_approval_makes_a_pending_node_that_claims_nothing(owner):
    pool = make_pool("mine", owner=owner)
    code = services.make_enrolment_code(pool=pool, actor=owner, now=NOW, needs_approval=True)
    node = enrol(code).node
    assert (node.state, node.state_note) == (Node.State.PENDING, "Its code asks for approval.")
    make_run(pool=pool)
    assert lease.claim(node=node, now=NOW) is None
    services.set_node_state(node=node, state=Node.State.ACTIVE, actor=owner)
    assert lease.claim(node=Node.objects.get(), now=NOW) is not None


def test_a_failed_self_test_waits_for_a_person_with_the_reason(code):
    node = enrol(code, self_test=self_test(passed=False, reason="llama-3m scored 0.10")).node
    assert (node.state, "scored 0.10" in node.state_note) == (Node.State.PENDING, True)


def test_a_device_smaller_than_its_pools_hardware_waits_for_a_person(owner):
    pool = make_pool("gpu", hardware=make_hardware("gpu", kind="cuda", memory_bytes=80 * 10**9), owner=owner)
    report = REPORT.model_copy(update={"kind": "cuda", "memory_bytes": 40 * 10**9})
    code = services.make_enrolment_code(pool=pool, actor=owner, now=NOW)
    assert enrol(code, report=report).node.state == Node.State.PENDING


def test_only_the_pools_owner_and_staff_approve(owner):
    staff = make_user(is_staff=True)
    pool = make_pool("mine", owner=owner)
    code = services.make_enrolment_code(pool=pool, actor=staff, now=NOW, needs_approval=True)
    node = enrol(code).node
    stranger, nodes_owner = make_user(), make_user()
    Node.objects.update(owner=nodes_owner)
    node.refresh_from_db()
    for actor in (stranger, nodes_owner):
        with pytest.raises(NotAllowed):
            services.set_node_state(node=node, state=Node.State.ACTIVE, actor=actor)
    services.set_node_state(node=node, state=Node.State.ACTIVE, actor=owner)


def test_nobody_puts_a_node_back_to_pending(code, owner):
    node = enrol(code).node
    with pytest.raises(BadRequest, match="not a state to put a node in"):
        services.set_node_state(node=node, state=Node.State.PENDING, actor=owner)


# --- credentials -----------------------------------------------------------------------------------------------------


@pytest.fixture
def known(code):
    """(node, key)"""
    key, public = make_key()
    return enrol(code, key=public).node, key


def ask(node, key, challenge=None, node_id=None):
    challenge = challenge or credentials.make_challenge(node.pk)
    signature = key.sign(credentials.challenge_payload(challenge)).hex()
    return credentials.token_for_signature(node_id=node_id or node.pk, challenge=challenge, signature=signature)[1]


def test_a_signed_challenge_gives_a_token_and_another_key_gives_none(known):
    node, key = known
    assert services.node_of_token(secret=ask(node, key), now=NOW).pk == node.pk
    with pytest.raises(Unauthorised, match="not signed with this node's key"):
        ask(node, make_key()[0])
    with pytest.raises(Unauthorised, match="not ours"):
        ask(node, key, challenge="made-up")


def test_a_challenge_is_for_one_node_and_for_a_minute(known, settings, monkeypatch):
    node, key = known
    other = make_node(node.pool, "other")
    with pytest.raises(Unauthorised, match="not signed"):
        ask(node, key, challenge=credentials.make_challenge(other.pk))
    challenge = credentials.make_challenge(node.pk)
    monkeypatch.setattr(credentials, "CHALLENGE_S", -1)
    with pytest.raises(Unauthorised, match="older than a minute"):
        ask(node, key, challenge=challenge)


def test_a_token_ends_by_itself(known, settings):
    node, key = known
    secret = ask(node, key)
    settings.NODE_TOKEN_S = -1
    with pytest.raises(Unauthorised, match="has expired"):
        services.node_of_token(secret=secret, now=NOW)


def test_tokens_can_be_ended_at_once_and_the_key_gets_new_ones(known, owner):
    node, key = known
    secret = ask(node, key)
    with pytest.raises(NotAllowed):
        services.end_tokens(node=node, actor=make_user())
    services.end_tokens(node=node, actor=owner)
    with pytest.raises(Unauthorised, match="were renewed"):
        services.node_of_token(secret=secret, now=NOW)
    assert services.node_of_token(secret=ask(node, key), now=NOW)


@pytest.mark.parametrize("secret", ["lbn_", "lbn_x:y:z", "lbn_" + "a" * 300, "lbn_\u00e9"])
def test_a_forged_token_is_refused(known, secret):
    with pytest.raises(Unauthorised):
        services.node_of_token(secret=secret, now=NOW)


def test_a_rotation_needs_the_present_key_and_ends_the_old_tokens(known):
    node, key = known
    old_token, old_public = ask(node, key), node.public_key
    new_key, public = make_key()
    with pytest.raises(NotAllowed):
        services.rotate_key(node=node, new_key=public, signature="0" * 128, now=NOW)
    signature = key.sign(services.rotation_payload(node, public)).hex()
    token = services.rotate_key(node=node, new_key=public, signature=signature, now=NOW)
    assert services.node_of_token(secret=token, now=NOW).past_keys == [old_public]
    for attempt in (lambda: services.node_of_token(secret=old_token, now=NOW), lambda: ask(node, key)):
        with pytest.raises(Unauthorised):
            attempt()
    node.refresh_from_db()
    assert services.rotate_key(node=node, new_key=public, signature=signature, now=NOW)  # the reply was lost
    assert ask(node, new_key)


def test_known_devices_get_their_vendors_peaks():
    assert services.peaks_of("cuda", "NVIDIA H100 80GB HBM3", 80 * 10**9)["peak_flops"] == 989e12
    assert services.peaks_of("cuda", "NVIDIA H200", 141 * 10**9)["bandwidth_bytes_per_s"] == 4.8e12
    assert services.peaks_of("cuda", "NVIDIA H100 PCIe 40GB", 40 * 10**9) == {}
    assert services.peaks_of("cpu", "H100", 80 * 10**9) == {}


def test_gpus_of_one_name_and_memory_are_one_hardware_whoever_holds_them():
    words = {"title": "NVIDIA H200", "kind": "cuda", "memory_bytes": 150_754_820_096}
    first = services.ensure_hardware(slug="h200-a", **words)
    assert (first.slug, first.bandwidth_bytes_per_s) == ("nvidia-h200", 4.8e12)
    assert services.ensure_hardware(slug="h200-b", **words | {"memory_bytes": 150_109_880_320}) == first
    half = services.ensure_hardware(slug="h200-half", **words | {"memory_bytes": 75_000_000_000})
    assert (half.slug, half.title) == ("h200-half", "NVIDIA H200 (h200-half)")


def test_two_processors_of_one_name_have_titles_that_tell_them_apart():
    words = {"title": "Intel Xeon, 2 cores", "kind": "cpu", "memory_bytes": 24 * 2**30}
    first = services.ensure_hardware(slug="xeon-a", **words)
    second = services.ensure_hardware(slug="xeon-b", **words)
    assert [first.title, second.title] == ["Intel Xeon, 2 cores", "Intel Xeon, 2 cores (xeon-b)"]
    assert services.ensure_hardware(slug="xeon-b", **words) == second, "made once"
    long = services.ensure_hardware(slug="c" * 80, **words | {"title": "x" * 200})
    again = services.ensure_hardware(slug="d" * 80, **words | {"title": "x" * 200})
    assert len(long.title) == len(again.title) == 120
    assert long.title != again.title
