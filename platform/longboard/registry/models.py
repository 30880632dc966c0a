"""Models, Methods, Systems and Suites: what can be ranked, and by what."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from longboard_tasks.contract import MethodRef, ModelRef, Runtime, SystemSpec


class Model(models.Model):
    """Weights plus architecture. `slug` is the name in URLs and in the API."""

    class Source(models.TextChoices):
        ZOO = "zoo", "reference zoo"
        HUB = "hub", "model hub, pinned revision"
        UPLOAD = "upload", "uploaded safetensors"
        CONFIG = "config", "configuration with random weights"
        ARCHITECTURE = "architecture", "architecture, trained from scratch"

    slug = models.SlugField(max_length=120, unique=True)
    title = models.CharField(max_length=160)
    source = models.CharField(max_length=12, choices=Source)
    ref = models.CharField(max_length=200)
    revision = models.CharField(max_length=40, blank=True)
    configuration: models.JSONField[Any, Any] = models.JSONField(
        default=dict, blank=True, help_text="of an architecture, in its canonical form; of others empty"
    )
    family = models.CharField(max_length=60, blank=True, db_index=True)
    architecture = models.CharField(max_length=80, blank=True)
    parameters = models.BigIntegerField(null=True)
    trained_length = models.IntegerField(null=True)
    max_positions = models.IntegerField(null=True)
    licence = models.CharField(max_length=80, blank=True)
    summary = models.TextField(blank=True, max_length=2_000)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True, db_index=True)  # the newest one is the version of all titles

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.UniqueConstraint(
                fields=["source", "ref", "revision", "configuration"], name="one_model_per_source_and_revision"
            )
        ]

    def __str__(self) -> str:
        return self.title

    def as_ref(self) -> ModelRef:
        return ModelRef.model_validate(
            {"source": self.source, "id": self.ref, "revision": self.revision, "configuration": self.configuration}
        )


class Method(models.Model):
    """A KV-cache or context method, synced from the catalogue."""

    name = models.SlugField(max_length=64, unique=True)
    title = models.CharField(max_length=120)
    family = models.CharField(max_length=60)
    summary = models.TextField(blank=True)
    takes_budget = models.BooleanField(default=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.title


class System(models.Model):
    """Model x Method x runtime: the thing that is ranked. `digest` is that of its contract class."""

    digest = models.CharField(max_length=64, unique=True)
    slug = models.SlugField(max_length=200, unique=True)
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="systems")
    method = models.ForeignKey(Method, on_delete=models.PROTECT, related_name="systems")
    budget = models.FloatField(default=1.0)
    settings = models.JSONField(default=dict, blank=True)
    dtype = models.CharField(max_length=10)
    attention = models.CharField(max_length=10)
    kernels = models.CharField(max_length=10)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True, db_index=True)

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(condition=models.Q(budget__gt=0, budget__lte=1), name="budget_is_a_share_kept"),
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def label(self) -> str:
        return system_label(
            self.model.title, self.method.name, self.method.title, self.budget, self.dtype, self.kernels, self.settings
        )

    def as_spec(self) -> SystemSpec:
        return SystemSpec(
            model=self.model.as_ref(),
            method=MethodRef(name=self.method.name, budget=self.budget, settings=self.settings),
            runtime=Runtime.model_validate({"dtype": self.dtype, "attention": self.attention, "kernels": self.kernels}),
        )


def system_label(
    model_title: str, method: str, method_title: str, budget: float, dtype: str, kernels: str, settings: dict[str, Any]
) -> str:
    """How a System is called on every page. Settings that are not a Method's own defaults are part of the name."""
    compressed = "" if method == "none" else f" + {method_title} {budget:g}"
    for name, value in sorted(settings.items()):
        compressed += ", question seen" if (name, value) == ("question_aware", True) else f", {name} {value}"
    runtime = dtype if kernels == "stock" else f"{dtype}, {kernels} kernels"
    return f"{model_title}{compressed} ({runtime})"


class Suite(models.Model):
    """One version of a family of tasks. Scores of different versions are never mixed, so old rows stay."""

    name = models.SlugField(max_length=64)
    version = models.PositiveIntegerField()
    title = models.CharField(max_length=120)
    kind = models.CharField(max_length=12, choices=[("accuracy", "accuracy"), ("efficiency", "efficiency")])
    summary = models.TextField(blank=True)
    definition: models.JSONField[Any, Any] = models.JSONField(
        default=dict
    )  # tasks, metrics, chance, as the catalogue had them
    is_current = models.BooleanField(default=True)

    class Meta:
        ordering = ["name", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="one_row_per_suite_version"),
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(is_current=True), name="one_current_version_per_suite"
            ),
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"
