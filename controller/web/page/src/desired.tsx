// Every placement beside every session: what should run, what runs, and whether that is the same.

import type { DriftDocument, ListOf, StreamDocument, StreamSessionDocument, SyncCheck } from "./api";
import { DriftTable, tellDifferences } from "./drift";
import { always, useLive } from "./live";
import { Ago, Card, Cell, Loading, Nothing, StateBadge, Switch, Table, Verdict } from "./parts";
import { route, setParams, streamLink } from "./route";
import { count, judge, many, sayAsks, sayRuns } from "./words";

const POLL_MILLISECONDS = 5000;
const SLOW_POLL_MILLISECONDS = 15_000;
const READ_MAX = 1000;
const ROWS_MAX = 500;

interface Pair {
  session: StreamSessionDocument;
  stream: StreamDocument | null;
}

export function DesiredPage() {
  const streams = useLive<ListOf<StreamDocument>>(`/streams?limit=${READ_MAX}`, POLL_MILLISECONDS, always);
  const seen = useLive<ListOf<StreamSessionDocument>>(`/sessions?limit=${READ_MAX}`, POLL_MILLISECONDS, always);
  const check = useLive<SyncCheck>("/debug/sync-check", POLL_MILLISECONDS, always);
  const open = useLive<ListOf<DriftDocument>>("/drift?limit=200", POLL_MILLISECONDS, always);
  const all = useLive<ListOf<DriftDocument>>("/drift?open=false&limit=100", SLOW_POLL_MILLISECONDS, always);
  const onlyDifferent = route.value.params.get("different") === "1";

  if (streams.document.value === null || seen.document.value === null) return <Loading />;
  const pairs = join(streams.document.value.items, seen.document.value.items);
  const different = pairs.filter((pair) => judge(pair.session).isDifferent);
  const shown = onlyDifferent ? different : pairs;
  const history = (all.document.value?.items ?? []).filter((drift) => drift.repaired_at !== null);
  return (
    <>
      <h1>Desired against observed</h1>
      <Summary check={check.document.value} pairs={pairs.length} different={different.length} />
      <Card
        title="Placements and sessions"
        aside={<Switch label="Differences only" isOn={onlyDifferent} onChange={(isOn) => setParams({ different: isOn ? "1" : "" })} />}
      >
        {shown.length === 0 ? (
          <Nothing>{onlyDifferent ? "Nothing differs." : "Nothing is asked for, and nothing runs."}</Nothing>
        ) : (
          <Table
            label="Placements and sessions"
            columns={[{ name: "Verdict" }, { name: "Stream" }, { name: "State" }, { name: "Proxy" }, { name: "Asked for" }, { name: "Runs" }, { name: "Generation", isNumber: true }, { name: "Viewers", isNumber: true }]}
          >
            {shown.slice(0, ROWS_MAX).map(({ session, stream }) => (
              <tr role="row" key={`${session.stream_id}/${session.proxy_id}/${session.generation}`}>
                <Cell of="Verdict">
                  <Verdict said={judge(session)} />
                </Cell>
                <Cell of="Stream" class="main">
                  <a class="row-link" href={streamLink(session.stream_id)}>
                    {session.key}
                  </a>
                </Cell>
                <Cell of="State">{stream ? <StateBadge state={stream.state} /> : <span class="muted">not open</span>}</Cell>
                <Cell of="Proxy">{session.proxy_id}</Cell>
                <Cell of="Asked for">
                  {sayAsks(session)}
                  {session.placement_state && (
                    <small>
                      for <Ago at={session.stopping_at ?? session.requested_at} />
                    </small>
                  )}
                </Cell>
                <Cell of="Runs">{sayRuns(session)}</Cell>
                <Cell of="Generation" isNumber>
                  {session.generation}
                </Cell>
                <Cell of="Viewers" isNumber>
                  {count(session.viewers)}
                </Cell>
              </tr>
            ))}
          </Table>
        )}
        {shown.length > ROWS_MAX && <p class="hint">{count(shown.length - ROWS_MAX)} more are not shown; “Differences only” narrows the list.</p>}
      </Card>
      <Card title="Open drifts" aside={<span class="muted">Differences that the control loop has found and not yet seen repaired</span>}>
        {(open.document.value?.items.length ?? 0) === 0 ? (
          <Nothing>None.</Nothing>
        ) : (
          <DriftTable label="Open drifts" drifts={open.document.value?.items ?? []} />
        )}
      </Card>
      <Card title="Repaired drifts" aside={history.length > 0 && <span class="muted">The last {count(history.length)}, newest first</span>}>
        {history.length === 0 ? <Nothing>None is remembered.</Nothing> : <DriftTable label="Repaired drifts" drifts={history} />}
      </Card>
    </>
  );
}

function Summary({ check, pairs, different }: { check: SyncCheck | null; pairs: number; different: number }) {
  const differences = check === null ? "" : tellDifferences(check);
  return (
    <p class="summary">
      {differences ? (
        <Verdict said={{ tone: "bad", text: `Something differs: ${differences}.`, more: "The control loop repairs it, or says below what it waits for." }} />
      ) : different > 0 ? (
        <Verdict said={{ tone: "busy", text: `${many(different, "session")} of ${count(pairs)} on the way.`, more: "Starts and stops take a moment; nothing is wrong yet." }} />
      ) : (
        <Verdict said={{ tone: "good", text: "What should run is what runs.", more: `${many(pairs, "session")}, each as it was asked for.` }} />
      )}
    </p>
  );
}

/** Placements come with their streams; what runs without one is only in the list of sessions. */
function join(streams: StreamDocument[], seen: StreamSessionDocument[]): Pair[] {
  const pairs = new Map<string, Pair>();
  const known = new Map(streams.map((stream) => [stream.id, stream]));
  const name = (session: StreamSessionDocument): string => `${session.key}/${session.stream_id}/${session.proxy_id}/${session.generation}`;
  const add = (session: StreamSessionDocument): void => {
    pairs.set(name(session), { session, stream: known.get(session.stream_id) ?? null });
  };
  for (const session of seen) add(session);
  for (const stream of streams) {
    for (const session of stream.sessions) add({ ...session, stream_id: stream.id, key: stream.key, epoch: stream.epoch });
  }
  const rank = (pair: Pair): number => (judge(pair.session).isDifferent ? 0 : 1);
  return [...pairs.entries()].sort(([a, left], [b, right]) => rank(left) - rank(right) || a.localeCompare(b)).map(([, pair]) => pair);
}
