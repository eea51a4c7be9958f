// A difference between what is asked for and what runs, in words; and the banner that tells of any.

import type { DriftDocument, SyncCheck } from "./api";
import { Ago, At, Cell, Table, Verdict } from "./parts";
import { streamLink } from "./route";
import { DRIFT_CLASSES, DRIFTS, many, span, type Tone, VERBS } from "./words";

export function DriftTable({ label, drifts }: { label: string; drifts: DriftDocument[] }) {
  return (
    <Table label={label} columns={[{ name: "What" }, { name: "Stream" }, { name: "Proxy" }, { name: "Evidence" }, { name: "What is done" }, { name: "Seen" }]}>
      {drifts.map((drift) => (
        <tr role="row" key={drift.id}>
          <Cell of="What" class="main">
            <Verdict said={{ tone: toneOf(drift), text: DRIFTS[drift.kind] ?? drift.kind, more: DRIFT_CLASSES[drift.drift_class] }} />
          </Cell>
          <Cell of="Stream">
            {drift.key ? <a href={streamLink(drift.stream_id)}>{drift.key}</a> : `all of ${drift.source_id}`}
            <small>generation {drift.generation}</small>
          </Cell>
          <Cell of="Proxy">{drift.proxy_id}</Cell>
          <Cell of="Evidence" class="long">
            {drift.evidence}
          </Cell>
          <Cell of="What is done" class="long">
            {VERBS[drift.action] ?? drift.action}
            {drift.gate && <small>until {drift.gate}</small>}
          </Cell>
          <Cell of="Seen">
            {drift.repaired_at === null ? (
              <>
                <Ago at={drift.first_seen} after=" ago" />
                <small>in {many(drift.looks, "look")}</small>
              </>
            ) : (
              <>
                <At at={drift.first_seen} />
                <small>gone after {span(Date.parse(drift.repaired_at) - Date.parse(drift.first_seen))}</small>
              </>
            )}
          </Cell>
        </tr>
      ))}
    </Table>
  );
}

function toneOf(drift: DriftDocument): Tone {
  if (drift.repaired_at !== null) return "good";
  return drift.action === "hold" ? "warn" : "busy";
}

/** What differs, in one sentence; empty when nothing does. */
export function tellDifferences({ discrepancies: found }: SyncCheck): string {
  const orphaned = union(found.orphaned_ts_sessions, found.orphaned_hls_sessions);
  const missing = union(found.missing_ts_sessions, found.missing_hls_sessions);
  const parts = [
    orphaned.length > 0 && `${name(orphaned)} ${orphaned.length === 1 ? "runs and nobody asks for it" : "run and nobody asks for them"}`,
    missing.length > 0 && `${name(missing)} should run and ${missing.length === 1 ? "does" : "do"} not`,
  ];
  return parts.filter(Boolean).join("; ");
}

function union(a: string[], b: string[]): string[] {
  return [...new Set([...a, ...b])].sort();
}

function name(keys: string[]): string {
  return keys.length <= 3 ? keys.join(", ") : `${keys.slice(0, 2).join(", ")} and ${keys.length - 2} more`;
}
