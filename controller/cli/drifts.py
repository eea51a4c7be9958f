"""The reference page of drift, made from the planner's table: the kinds, the classes, the gates, the taxonomy."""

from collections.abc import Iterator

from controller.domain.plan.taxonomy import ELSEWHERE, GATES_OF_CLASS, NUMBERS, RULES, DriftClass, GateKind, Rule

CLASSES = {
    DriftClass.ADDITIVE: "It starts something that is missing, and takes nothing away.",
    DriftClass.EVIDENCED: "It stops something, and a row of the database or this very observation proves that it may.",
    DriftClass.UNEVIDENCED: "It would stop something for want of a row. A database that was restored lacks rows of "
    "things that are right, so it is held first.",
    DriftClass.REPORT: "It is never repaired by itself: nobody here can know what is right.",
}


def page() -> str:
    """Return the page as Markdown."""
    lines = [
        "# Drift",
        "",
        "<!-- Made by `make docs` from the code. Edits here are lost. -->",
        "",
        "Every difference between what should run and what runs has a kind. The kind says what proves it, what is done",
        "about it and what may hold that back. What is held says so, with its gate: `penstock get drift` and",
        "`penstock why KEY` tell. How it works together is told in [reconciliation](../explanation/reconciliation.md).",
        "",
        "## Classes",
        "",
        "| class | what its repair does |",
        "| --- | --- |",
        *(f"| {drift_class} | {CLASSES[drift_class]} |" for drift_class in DriftClass),
        "",
        "## Kinds",
        "",
        "Budgets: E is for each proxy, so many a second (`PENSTOCK_STOPS_EVIDENCED_PER_SECOND`). N is over all, so",
        "many a second (`PENSTOCK_STOPS_UNEVIDENCED_PER_SECOND`), in ten minutes no more than a part of all sessions",
        "(`PENSTOCK_STOPS_UNEVIDENCED_SHARE`, `PENSTOCK_STOPS_UNEVIDENCED_MIN`). More than that opens the breaker.",
        "",
        "| kind | class | what it is | evidence | what is done | grace | budget | gates |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(f"| `{kind}` | {_cells(rule)} |" for kind, rule in RULES.items()),
        "",
        "## Gates",
        "",
        "| gate | what it waits for |",
        "| --- | --- |",
        *(f"| `{gate}` | {gate.meaning} |" for gate in GateKind),
        "",
        "## The taxonomy behind it",
        "",
        "The kinds were taken from a list of 24 ways in which wish and world can differ. This is where each went.",
        "",
        "| number | where it is seen to |",
        "| --- | --- |",
        *_numbers(),
        "",
    ]
    return "\n".join(lines)


def _cells(rule: Rule) -> str:
    paid = (GateKind.BUDGET,) if rule.budget is not None else ()
    gates = (*rule.gates, *GATES_OF_CLASS[rule.drift_class], *paid)
    shown = ", ".join(f"`{gate}`" for gate in gates)
    grace = f"`{rule.grace}`" if rule.grace is not None else ""
    budget = rule.budget or ""
    return f"{rule.drift_class} | {rule.what} | {rule.evidence} | {rule.action} | {grace} | {budget} | {shown}"


def _numbers() -> Iterator[str]:
    for number in NUMBERS:
        kinds = [f"`{kind}`" for kind, rule in RULES.items() if number in rule.numbers]
        yield f"| {number} | {', '.join(kinds) or ELSEWHERE[number]} |"
