"""The whole workflow: data set → search → train → evaluate → collect → render → check.

snakemake --cores all                              benchmarks/demo.yaml
snakemake --cores all --config benchmark=NAME      another one, or several: NAME,NAME or a path
snakemake --cores all --config size=tiny           one short trial of each kind
snakemake --cores all --config only="seed=0 …"     a part: kind, dataset, network, rules, protocol, seed
snakemake --cores all --config code=equal          finished runs that other code made are made anew
"""

import hashlib
import json
import os
import shlex
import sys
import time
from functools import cache
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from bionas import plugins
from suite import asked, code, console, image, jobfile, slurm, unfinished, warm
from snakemake.settings.types import DeploymentMethod

# Jobs find this Python and this checkout, wherever Snakemake was started from.
for variable, first in {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": workflow.basedir}.items():
    os.environ[variable] = os.pathsep.join(filter(None, [first, os.environ.get(variable)]))

try:
    ASKED = asked.read(config, Path(workflow.basedir))
    if workflow.is_main_process and ASKED.said:  # before anything runs, and once: Snakemake reads this file again for jobs elsewhere
        print(console.wrapped(ASKED.said), file=sys.stderr)
except ValueError as error:
    sys.exit(str(error))
os.environ[code.DEMAND] = ASKED.code  # jobs hear of it, too
PLANS = ASKED.plans
CONSOLE = console.stand_in(workflow.output_settings, PLANS) if workflow.is_main_process else None

SEARCHES = {id: search for planned in PLANS.values() for id, search in planned.searches.items()}
TRIALS = {id: trial for planned in PLANS.values() for id, trial in (planned.tuning | planned.trials).items()}
EVALUATIONS = {
    (id, trial.evaluation.id): trial.evaluation for planned in PLANS.values() for id, trial in planned.trials.items() if trial.evaluation
}


@cache
def make_anew():
    """Have such runs made anew, as by --forcerun, where `code=equal` asks for it: once, while Snakemake builds its graph.

    Not by a parameter of the rule: that is compared with what Snakemake noted of a run, if it noted anything, not with its code.
    """
    if ASKED.code == "equal":
        workflow.dag.forcefiles.update(f"results/runs/{run.file}" for runs in ASKED.outdated.values() for run in runs)


def data_of(run):
    """The data set of a search or a trial."""
    make_anew()
    return f"data/{run.dataset}.h5"


def added(dataset):
    """The plugin that a data set comes from, if it is one's, and its version."""
    return plugins.used(("datasets", dataset.partition("-")[0]))


def runs_of(wildcards):
    """Every run file of a benchmark."""
    return [f"results/runs/{file}" for file, _, _ in PLANS[wildcards.benchmark].files()]


def state_of(wildcards):
    """What a report has to say about other code; it is made anew where that changes. Nothing is left of it where `code=equal` holds."""
    names = " ".join(run.file for run in ASKED.outdated[wildcards.benchmark]) if ASKED.code == "any" else ""
    return names and hashlib.sha256(names.encode()).hexdigest()[:8]


def genotype_of(wildcards):
    """The search whose genotype a trial trains, if it is a searched one."""
    parent = TRIALS[wildcards.trial].parent
    return f"results/runs/search/{parent}/search.h5" if parent else []


def tuning_of(wildcards):
    """The trials that choose a trial's learning rate, if it has a grid."""
    return [f"results/runs/trial/{trial.id}/train.h5" for trial in TRIALS[wildcards.trial].tuners]


def sources_of(wildcards):
    """The trials whose networks make images to attack this one with."""
    sources = EVALUATIONS[wildcards.trial, wildcards.evaluation].sources
    return [f"results/runs/trial/{id}/train.h5" for id in sources.values()]


def shown(path, where, caption, patterns=None, **labels):
    """An output that `snakemake --report` shows in its benchmark's category."""
    caption = f"reports/page/captions/{caption}.rst"
    return report(path, caption=caption, category="{benchmark}", subcategory=where, labels=labels, patterns=patterns or [])


# The image holds what jobs import; the checkout is mounted. It is a parameter of every run, since Snakemake notices no other image.
# Jobs hear of it, too: they keep what they find finished.
IN_IMAGE = DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
try:
    ADDRESS = image.wanted(str(config.get("image") or ""), IN_IMAGE, Path(workflow.basedir))
    IMAGE = image.identity(ADDRESS) if ADDRESS else ""
except ValueError as error:
    sys.exit(f"--config {error}")
if IN_IMAGE:
    os.environ[image.CHOSEN] = IMAGE
    for variable in "APPTAINER_NV", "SINGULARITY_NV":  # NVIDIA's driver, if there is one
        os.environ.setdefault(variable, "1")


container: ADDRESS or image.NAME  # without --use-singularity it is not looked at


# A data set file is whole or not there, so one that is there has no rule behind it: Snakemake would forget what waits for a file that
# it takes for incomplete and that is an input by ancient() alone, and say that all is done.
DATASETS = sorted({run.dataset for run in (*SEARCHES.values(), *TRIALS.values())})
MISSING = [dataset for dataset in DATASETS if not Path(f"data/{dataset}.h5").exists()]


wildcard_constraints:
    dataset="|".join(MISSING) or "(?!)",
    benchmark="[a-z0-9-]+",
    search=".+",
    trial=".+",
    evaluation="[0-9a-f]{8}",


report: "reports/page/captions/workflow.rst"


STARTED = time.time()
MADE = {name: unfinished.made(planned) for name, planned in PLANS.items()}


def end(lines):
    """Say how it ended, below all else."""
    if CONSOLE:
        CONSOLE.close()
    for line in lines:
        print(line, file=sys.stderr)


onstart:
    for planned in PLANS.values():
        jobfile.write(planned)
    if not workflow.local_exec:
        return
    # Snakemake (9.27) limits how many jobs start a second, and for that sets a timer in every round, whose end begins another round: the
    # more jobs have run, the more rounds. Here the cores are the limit, unless somebody asks for less than its 100.
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and limit.max_jobs >= 100:
        workflow.scheduler.job_rate_limiter = None
    if not IN_IMAGE and sum(job.name in ("search", "train", "evaluate") for job in workflow.dag.needrun_jobs()) >= warm.WORTH:
        warm.start(Path("logs/warm.log"))


onsuccess:
    end([*console.verdicts(PLANS), f"done in {console.duration(time.time() - STARTED)}"])


onerror:
    end([*slurm.failures(Path("logs/slurm"), STARTED), *console.missed(PLANS, STARTED)])
    for planned in PLANS.values():
        unfinished.report(planned, ASKED.files[planned.name], ASKED.size, MADE[planned.name])


rule all:
    input:
        expand("results/{benchmark}/{file}", benchmark=PLANS, file=["report.html", "figures", "summary.md", "check.txt"]),


rule dataset:
    output:
        "data/{dataset}.h5",
    log:
        "logs/dataset/{dataset}.log",
    params:
        plugin=lambda wildcards: "".join(f"--plugin {name}=={version}" for name, version in added(wildcards.dataset).items()),
    shell:
        "{{ python -m data_prep {wildcards.dataset} --raw data/raw --out {output:q} {params.plugin}; }} &>> {log:q}"


# A job reads its parameters from a file beside its result (suite.jobfile). `params` is what a run is made of: Snakemake compares it with
# what it noted, and makes a run anew where it changed. Groups in braces, so that the log has what the shell says of a job that was killed.
# Data are ancient: a data set that is made again is the same one, and must not take finished runs with it.
rule search:
    input:
        ancient(lambda wildcards: data_of(SEARCHES[wildcards.search])),
    output:
        "results/runs/search/{search}/search.h5",
    log:
        "logs/search/{search}/search.log",
    priority: 2  # what most waits for comes first, so that no core is idle at the end
    threads: lambda wildcards: SEARCHES[wildcards.search].threads
    resources:
        gpu=lambda wildcards: int(SEARCHES[wildcards.search].device != "cpu"),
    params:
        search=lambda wildcards: json.dumps(SEARCHES[wildcards.search].params),
        image=IMAGE,
        folder=lambda wildcards, output: str(Path(output[0]).parent),
    shell:
        "{{ python -m suite.run search {params.folder:q}/search.json; }} &>> {log:q}"


rule train:
    input:
        data=ancient(lambda wildcards: data_of(TRIALS[wildcards.trial])),
        search=genotype_of,
        tuning=tuning_of,
    output:
        "results/runs/trial/{trial}/train.h5",  # with weights.pt beside it, unless the trial is skipped
    log:
        "logs/trial/{trial}/train.log",
    priority: 1
    threads: lambda wildcards: TRIALS[wildcards.trial].threads
    resources:
        gpu=lambda wildcards: int(TRIALS[wildcards.trial].device != "cpu"),
    params:
        trial=lambda wildcards: json.dumps(TRIALS[wildcards.trial].params),
        image=IMAGE,
        folder=lambda wildcards, output: str(Path(output[0]).parent),
        # one parameter: a run of one more would be made anew
        found=lambda wildcards, input: " ".join(
            f"--{name} {shlex.join([files] if isinstance(files, str) else files)}"
            for name, files in input.items()
            if name != "data" and files
        ),
    shell:
        "{{ python -m suite.run train {params.folder:q}/train.json; }} &>> {log:q}"


rule evaluate:
    input:
        data=ancient(lambda wildcards: data_of(TRIALS[wildcards.trial])),
        run=rules.train.output,
        sources=sources_of,
    output:
        "results/runs/trial/{trial}/evaluation-{evaluation}.h5",
    log:
        "logs/trial/{trial}/evaluation-{evaluation}.log",
    threads: lambda wildcards: TRIALS[wildcards.trial].threads
    resources:
        gpu=lambda wildcards: int(TRIALS[wildcards.trial].device != "cpu"),
    params:
        evaluation=lambda wildcards: json.dumps(EVALUATIONS[wildcards.trial, wildcards.evaluation].params),
        image=IMAGE,
        folder=lambda wildcards, input: str(Path(str(input.run)).parent),
        sources=lambda wildcards, input: (
            f"--sources {shlex.join(str(Path(file).parent) for file in input.sources)}" if input.sources else ""
        ),
    shell:
        "{{ python -m suite.run evaluate {params.folder:q}/evaluation-{wildcards.evaluation}.json; }} &>> {log:q}"


rule collect:
    input:
        definition=lambda wildcards: ASKED.files[wildcards.benchmark],
        runs=runs_of,
    output:
        "results/{benchmark}/metrics.h5",
    log:
        "logs/{benchmark}/collect.log",
    params:
        size=ASKED.size,
        only=lambda wildcards: f"--only {shlex.quote(only)}" if (only := PLANS[wildcards.benchmark].only) else "",
        other_code=state_of,
    shell:
        "{{ python -m suite.collect {input.definition:q} --size {params.size} {params.only} --out {output:q}; }} &>> {log:q}"


rule render:
    input:
        rules.collect.output,
    output:
        shown("results/{benchmark}/report.html", "Report", "report", what="the whole report"),
    log:
        "logs/{benchmark}/render.log",
    shell:
        "{{ python -m reports.render {input:q} {output:q}; }} &>> {log:q}"


# For `snakemake --report`, and for pages of others.
rule parts:
    input:
        metrics=rules.collect.output,
        report=rules.render.output,
    output:
        figures=shown(
            directory("results/{benchmark}/figures"),
            "Figures: {section}",
            "figure",
            patterns=["{section}/{figure}.html"],
            figure="{figure}",
        ),
        summary=shown("results/{benchmark}/summary.md", "Report", "summary", what="summary, Markdown"),
    log:
        "logs/{benchmark}/parts.log",
    shell:
        "{{ python -m reports.figures {input.report:q} {output.figures:q}"
        " && python -m reports.summary {input.metrics:q} > {output.summary:q}; }} &>> {log:q}"


rule check:
    input:
        metrics=rules.collect.output,
        report=rules.render.output,  # a missed bound leaves its report, and its parts
        parts=rules.parts.output,
    output:
        shown("results/{benchmark}/check.txt", "Gate", "check", what="bounds, and how they came out"),
    log:
        "logs/{benchmark}/check.log",
    shell:
        "{{ python -m suite.check {input.metrics:q} --out {output:q}; }} &> {log:q}"
