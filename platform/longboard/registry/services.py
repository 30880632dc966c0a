"""Changes to the registry: what is known is synced from the catalogue and the zoo, or registered by a person."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from django.db import transaction
from django.utils.text import slugify

from longboard.accounts.models import User
from longboard.errors import BadRequest, NotFound
from longboard.registry.models import Method, Model, Suite, System
from longboard_tasks.catalogue.methods import METHODS
from longboard_tasks.catalogue.suites import SUITES
from longboard_tasks.contract import MethodRef, ModelRef, Runtime, SystemSpec
from longboard_tasks.families import architecture_of
from longboard_tasks.shapes import load_shapes
from longboard_tasks.suites.lra.architectures import ArchitectureError, Variant, check_architecture, known
from longboard_tasks.zoo.registry import ZOO


@transaction.atomic
def sync_catalogue() -> None:
    """Makes the tables say what the catalogue, the zoo and the shapes say. A second call changes nothing.

    A suite's older versions keep their rows, and their results keep them.
    """
    for suite in SUITES.values():
        Suite.objects.filter(name=suite.name).exclude(version=suite.version).update(is_current=False)
        Suite.objects.update_or_create(
            name=suite.name,
            version=suite.version,
            defaults={
                "title": suite.title,
                "kind": suite.kind,
                "summary": suite.summary,
                "definition": dataclasses.asdict(suite),
                "is_current": True,
            },
        )
    for method in METHODS.values():
        Method.objects.update_or_create(
            name=method.name,
            defaults={
                "title": method.title,
                "family": method.family,
                "summary": method.summary,
                "takes_budget": method.takes_budget,
            },
        )
    for zoo in ZOO.values():
        Model.objects.update_or_create(
            source=Model.Source.ZOO,
            ref=zoo.id,
            revision="",
            defaults={
                "slug": zoo.id,
                "title": zoo.title,
                "family": zoo.family,
                "architecture": zoo.architecture,
                "parameters": zoo.parameters,
                "trained_length": zoo.trained_length,
                "max_positions": zoo.max_positions,
                "licence": zoo.licence,
                "summary": zoo.summary,
            },
        )
    for shape in load_shapes().values():
        Model.objects.update_or_create(
            source=Model.Source.CONFIG,
            ref=shape.id,
            revision="",
            defaults={
                "slug": slugify(shape.id.replace(".", "-")),
                "title": f"{shape.title}, random weights",
                "family": shape.family.split(",")[0],
                "architecture": shape.class_name.replace("Config", "ForCausalLM"),
                "parameters": architecture_of(shape).stored,
                "max_positions": shape.positions,
                "summary": f"The sizes of {shape.like}, weights drawn at random: for speed and memory. {shape.note}".strip(),
            },
        )
    for name in known():
        _architecture_row(check_architecture(name, {}))


def architecture_model(name: str, configuration: Mapping[str, bool | int]) -> Model:
    """The Model of an architecture with a configuration, made when nobody has asked for it before.

    Raises BadRequest for a name, a direction, an option or a value that does not exist.
    """
    try:
        return _architecture_row(check_architecture(name, configuration))
    except ArchitectureError as error:
        raise BadRequest(str(error), field=error.field) from error


def _architecture_row(variant: Variant) -> Model:
    words = [
        str(word) for option, value in variant.configuration.items() for word in (option, value) if word is not True
    ]
    model, _ = Model.objects.update_or_create(
        source=Model.Source.ARCHITECTURE,
        ref=variant.name,
        revision="",
        configuration=variant.configuration,
        defaults={
            "slug": slugify("-".join(["lra", variant.name, *words]).replace("_", "-")),
            "title": variant.label,
            "family": variant.family,
            "architecture": variant.title,
            "summary": f"Trained from scratch, task by task, under one budget. {variant.source}.",
        },
    )
    return model


def register_hub_model(*, owner: User, repository: str, revision: str, title: str = "") -> Model:
    """A hub model at a full commit hash. The same repository and revision twice give the same row.

    Raises BadRequest for a malformed id and for a branch name in place of a hash.
    """
    try:
        ref = ModelRef(source="hub", id=repository, revision=revision)
    except ValueError as error:
        raise BadRequest(
            f'"{repository}" at "{revision}" is not a pinned hub model. Give owner/name and the 40-digit commit hash.',
            field="revision" if "/" in repository else "repository",
        ) from error
    model, _ = Model.objects.get_or_create(
        source=Model.Source.HUB,
        ref=ref.id,
        revision=ref.revision,
        defaults={
            "slug": slugify(f"{ref.id.replace('/', '-').replace('.', '-')}-{ref.revision[:8]}")[:120],
            "title": (title or ref.id.split("/")[-1])[:160],
            "owner": owner,
        },
    )
    return model


def find_model(slug: str) -> Model:
    model = Model.objects.filter(slug=slug).first()
    if model is None:
        near = ", ".join(Model.objects.order_by("slug").values_list("slug", flat=True)[:8])
        raise NotFound(
            f'Model "{slug}" is not registered. There are: {near}. Register a hub model first.', field="model"
        )
    return model


def system_for(*, model: Model, method: MethodRef, runtime: Runtime) -> System:
    """The System of a spec: found by its digest, or made. Two callers at once get the same row."""
    row = Method.objects.filter(name=method.name).first()
    if row is None:
        names = ", ".join(Method.objects.values_list("name", flat=True))
        raise BadRequest(f'Method "{method.name}" is not known. There are: {names}.', field="method")
    if not row.takes_budget and method.budget != 1.0:
        raise BadRequest(
            f'Method "{method.name}" takes no budget: leave it at 1, not {method.budget:g}.', field="budget"
        )
    _check_method(method)
    spec = SystemSpec(model=model.as_ref(), method=method, runtime=runtime)
    parts = [model.slug, runtime.dtype]
    if method.name != "none":
        parts.append(f"{method.name}-{method.budget:g}".replace(".", "_"))
    if runtime.kernels != "stock":
        parts.append(runtime.kernels)
    system, _ = System.objects.get_or_create(
        digest=spec.digest,
        defaults={
            "slug": f"{'-'.join(parts)[:180]}-{spec.digest[:6]}",
            "model": model,
            "method": row,
            "budget": method.budget,
            "settings": method.settings,
            "dtype": runtime.dtype,
            "attention": runtime.attention,
            "kernels": runtime.kernels,
        },
    )
    return system


def _check_method(method: MethodRef) -> None:
    """A budget and settings that the node would refuse are refused before a run is made. Raises BadRequest."""
    info = METHODS.get(method.name)
    if info is None:  # of an older catalogue
        return
    if info.budgets and method.budget not in info.budgets:
        has = " or ".join(f"{budget:g}" for budget in info.budgets)
        raise BadRequest(f'Method "{method.name}" has the budget {has}, not {method.budget:g}.', field="budget")
    if odd := [n for n, v in method.settings.items() if isinstance(v, str) and not (v.isprintable() and len(v) <= 100)]:
        raise BadRequest(
            f'Setting "{odd[0][:60]}" is no short word: a database holds no control characters.', field="settings"
        )
    known = [name for name, _ in info.parameters]
    if unknown := [name for name in method.settings if name not in known]:
        raise BadRequest(
            f'Method "{method.name}" has no setting "{unknown[0][:60]}". It has: {", ".join(known) or "none"}.',
            field="settings",
        )
