"""LongBench's real sets under a Method, from a folder or the hub. They cannot be made offline, so no site can check such scores.

    python -m longboard_tasks.suites.kv.longbench llama-3m --source FOLDER --sets qasper,trec --method snapkv --budget 0.25

FOLDER holds NAME.jsonl files (fields input, context, answers, all_classes) and dataset2prompt.json, both as the authors publish
them; `--source hub:OWNER/NAME@REVISION` fetches the archive of the former, and `--prompts` names the latter.

Source: Bai et al. 2023 (LongBench, arXiv:2308.14508; code MIT) for sets, metrics, answer lengths and the cut in the middle. We
differ: a prompt is cut by tokens once, its template's own words kept; `answers` says what is mended in the metrics.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from longboard_tasks.contract import MethodRef, ModelRef, Runtime, SystemSpec
from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.samples import Sample
from longboard_tasks.suites.kv.answers import best_score
from longboard_tasks.suites.segments import encode, frame

Metric = Literal["f1", "rouge", "classes", "retrieval", "edit"]
CONTEXT = "{context}"


@dataclass(frozen=True, slots=True)
class Set:
    category: str
    metric: Metric
    new_tokens: int
    one_line: bool = False  # only the first line of the answer counts, and there is no chat template


SETS = {
    "narrativeqa": Set("single document", "f1", 128), "qasper": Set("single document", "f1", 128),
    "multifieldqa_en": Set("single document", "f1", 64),
    "hotpotqa": Set("several documents", "f1", 32), "2wikimqa": Set("several documents", "f1", 32),
    "musique": Set("several documents", "f1", 32),
    "gov_report": Set("summaries", "rouge", 512), "qmsum": Set("summaries", "rouge", 512),
    "multi_news": Set("summaries", "rouge", 512),
    "trec": Set("few-shot", "classes", 64, one_line=True), "triviaqa": Set("few-shot", "f1", 32, one_line=True),
    "samsum": Set("few-shot", "rouge", 128, one_line=True),
    "passage_retrieval_en": Set("retrieval", "retrieval", 32),
    "lcc": Set("code", "edit", 64, one_line=True), "repobench-p": Set("code", "edit", 64, one_line=True),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    input: str
    context: str
    answers: tuple[str, ...]
    classes: tuple[str, ...] = ()


def open_source(source: str, cache: Path) -> Path:
    """The folder with the sets. `hub:OWNER/NAME@REVISION` is fetched once. Raises SuiteError."""
    if not source.startswith("hub:"):
        folder = Path(source)
        if not folder.is_dir():
            raise SuiteError(f"{folder} is no folder. Give one with NAME.jsonl files, or hub:OWNER/NAME@REVISION.")
        return folder
    from huggingface_hub import hf_hub_download

    repository, _, revision = source.removeprefix("hub:").partition("@")
    if len(revision) != 40:
        raise SuiteError(f"{source} has no full commit hash after the @: a branch is no version of a data set.")
    try:
        archive = hf_hub_download(repository, "data.zip", repo_type="dataset", revision=revision)
    except Exception as error:  # the hub client raises a dozen kinds
        raise SuiteError(f"{repository} could not be fetched ({type(error).__name__}: {str(error)[:160]}).") from error
    folder = cache / revision
    with zipfile.ZipFile(archive) as files:
        for name in files.namelist():
            if name.endswith(".jsonl"):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / Path(name).name).write_bytes(files.read(name))
    return folder


def read_set(folder: Path, name: str) -> list[Item]:
    """Every row of a set. Raises SuiteError for one that is not there or not of the benchmark's form."""
    if name not in SETS:
        raise SuiteError(f'"{name}" is no set of LongBench that is scored here. There are: {", ".join(SETS)}.')
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        raise SuiteError(f"{path} is not there. Get the set from its authors: it is not made offline.")
    items = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            items.append(Item(row["input"], row["context"], tuple(row["answers"]), tuple(row.get("all_classes") or ())))
        except (ValueError, KeyError, TypeError) as error:
            raise SuiteError(
                f"{path}, line {number}: no row of LongBench ({type(error).__name__}: {error})."
            ) from error
    return items


def make_sample(item: Item, name: str, *, index: int, template: str, limit: int, tokenizer: Any) -> Sample:
    """The prompt of at most `limit` tokens: too long a context loses its middle. `template` has {context} and perhaps {input}.

    Raises SuiteError for a template without {context}, or a limit that its words alone exceed.
    """
    before, mark, after = template.partition(CONTEXT)
    if not mark:
        raise SuiteError(f"The template of {name} has no {CONTEXT}.")
    # Without str.format: contexts and inputs are full of braces.
    head, tail = (encode(tokenizer, part.replace("{input}", item.input)) for part in (before, after))
    around = frame(tokenizer)
    if not SETS[name].one_line or not around.is_chat:
        head, tail = [*around.before, *head], [*tail, *around.after]
    body, room = encode(tokenizer, item.context), limit - len(head) - len(tail)
    if room < 2:
        raise SuiteError(f"limit={limit} tokens leave no room for a context of {name}: its words take {limit - room}.")
    if len(body) > room:
        body = [*body[: room // 2], *body[len(body) - (room - room // 2) :]]
    return Sample(
        task=name,
        index=index,
        ids=(*head, *body, *tail),
        target=json.dumps({"answers": item.answers, "classes": item.classes}),
        context=len(head) + len(body),
        new_tokens=SETS[name].new_tokens,
        stops=("\n",) if name == "samsum" else (),
    )


def score(task: str, answer: str, target: str) -> float:
    """0 to 1: the best over the references."""
    known = json.loads(target)
    if SETS[task].one_line and SETS[task].metric != "edit":
        answer = answer.lstrip("\n").split("\n")[0]
    return best_score(SETS[task].metric, answer, known["answers"], known["classes"])


def category_means(shares: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Category -> mean of its sets, unweighted, as the benchmark has it."""
    found: dict[str, list[float]] = {}
    for name, share in shares:
        found.setdefault(SETS[name].category, []).append(share)
    return {category: sum(values) / len(values) for category, values in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    from longboard_tasks.engine.harness import run_block
    from longboard_tasks.engine.lm import LongContextLM
    from longboard_tasks.evaluate import open_system
    from longboard_tasks.intervals import wilson

    parser = argparse.ArgumentParser(description="LongBench under a Method.")
    parser.add_argument("model", help="a zoo id, or OWNER/NAME@REVISION of the hub")
    parser.add_argument("--source", required=True, help="a folder, or hub:OWNER/NAME@REVISION")
    parser.add_argument("--prompts", type=Path, help="dataset2prompt.json; SOURCE's own when left out")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--method", default="none")
    parser.add_argument("--budget", type=float, default=1.0)
    parser.add_argument("--limit", type=int, default=7_500, help="tokens of a prompt")
    parser.add_argument("--most", type=int, default=0, help="items of a set; 0: all")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--cache", type=Path, default=Path("var/longbench"))
    asked = parser.parse_args(arguments)
    folder = open_source(asked.source, asked.cache)
    templates = json.loads((asked.prompts or folder / "dataset2prompt.json").read_text())
    repository, _, revision = asked.model.partition("@")
    model = ModelRef(source="hub" if revision else "zoo", id=repository, revision=revision)
    system = open_system(
        SystemSpec(
            model=model,
            method=MethodRef(name=asked.method, budget=asked.budget),
            runtime=Runtime.model_validate({"dtype": asked.dtype}),
        )
    )
    means = []
    for name in asked.sets.split(","):
        items = read_set(folder, name)[: asked.most or None]
        tokenizer = system.loaded.tokenizer
        samples = [
            make_sample(item, name, index=i, template=templates[name], limit=asked.limit, tokenizer=tokenizer)
            for i, item in enumerate(items)
        ]
        records = run_block(LongContextLM(system.engine), name, samples, score)
        share = sum(r.score for r in records) / len(records)
        low, high = wilson(share, len(records))
        means.append((name, share))
        print(f"{name}: {share:.4f} [{low:.4f}, {high:.4f}], n={len(records)}", flush=True)
    for category, share in category_means(means).items():
        print(f"{category}: {share:.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
