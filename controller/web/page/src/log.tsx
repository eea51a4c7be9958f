// What the control loop looked at, found, did and held back: one row a look.

import { useSignal } from "@preact/signals";
import { ask, type ActionDocument, type CycleDocument, type DriftDocument, type ListOf } from "./api";
import { DriftTable } from "./drift";
import { always, useLive } from "./live";
import { Ago, At, Card, Loading, Nothing, Switch, Verdict } from "./parts";
import { route, setParams, streamLink } from "./route";
import { CAUSES, count, DRIFTS, many, type Said, VERBS } from "./words";

const POLL_MILLISECONDS = 3000;
const READ = 100;
const STRIP = 60;
const ACTIONS_SHOWN = 20;

export function LogPage() {
  const list = useLive<ListOf<CycleDocument>>(`/reconcile?limit=${READ}`, POLL_MILLISECONDS, always);
  const drifts = useLive<ListOf<DriftDocument>>("/drift?limit=200", POLL_MILLISECONDS, always);
  const older = useSignal<CycleDocument[]>([]);
  const cursor = useSignal<string | null | undefined>(undefined);
  const hasQuiet = route.value.params.get("quiet") === "1";

  const read = list.document.value;
  if (read === null) return <Loading />;
  const cycles = merge(read.items, older.value);
  const shown = hasQuiet ? cycles : cycles.filter(isTelling);
  const next = cursor.value === undefined ? read.next_cursor : cursor.value;
  const held = (drifts.document.value?.items ?? []).filter((drift) => drift.gate !== "");
  const readOlder = async (): Promise<void> => {
    const { document } = await ask<ListOf<CycleDocument>>(`/reconcile?limit=500&cursor=${encodeURIComponent(next ?? "")}`);
    older.value = merge(older.value, [...document.items]);
    cursor.value = document.next_cursor;
  };
  const oldest = cycles.at(-1);
  return (
    <>
      <h1>Reconcile log</h1>
      <p class="hint">
        Every few seconds, and whenever something changes, the control loop compares what should run with what runs, and
        repairs the difference. Each look is one row.
      </p>
      <Latest cycle={cycles[0]} />
      <Strip cycles={cycles.slice(0, STRIP)} />
      {held.length > 0 && (
        <Card title="Held back" aside={<span class="muted">Known, and deliberately not repaired yet</span>}>
          <DriftTable label="Held back" drifts={held} />
        </Card>
      )}
      <Card
        title="Looks"
        aside={<Switch label="Show those that found all in order" isOn={hasQuiet} onChange={(isOn) => setParams({ quiet: isOn ? "1" : "" })} />}
      >
        {shown.length === 0 ? (
          <Nothing>
            Nothing had to be done in the last {many(cycles.length, "look")}
            {oldest && (
              <>
                , since <At at={oldest.at} />
              </>
            )}
            .
          </Nothing>
        ) : (
          <ol class="cycles">
            {shown.map((cycle) => (
              <Look key={cycle.id} cycle={cycle} />
            ))}
          </ol>
        )}
        {next !== null && (
          <p class="foot">
            <button type="button" onClick={() => void readOlder().catch(() => undefined)}>
              Read older ones
            </button>
          </p>
        )}
      </Card>
    </>
  );
}

function merge(...lists: CycleDocument[][]): CycleDocument[] {
  return [...new Map(lists.flat().map((cycle) => [cycle.id, cycle])).values()].sort((a, b) => b.id - a.id);
}

function isTelling(cycle: CycleDocument): boolean {
  const { actions = 0, drifts = 0, held = 0 } = cycle.counts;
  return cycle.actions.length > 0 || actions + drifts + held > 0 || cycle.error !== "";
}

function say(cycle: CycleDocument): Said {
  const { actions = 0, drifts = 0, held = 0, proxies = 0, proxies_fresh: fresh = 0, sessions = 0 } = cycle.counts;
  if (cycle.error) return { tone: "bad", text: "Failed", more: cycle.error };
  const looked = `${many(sessions, "session")} on ${fresh < proxies ? `${fresh} of ` : ""}${many(proxies, "proxy", "proxies")}`;
  const parts = [
    drifts > 0 && many(drifts, "drift"),
    actions - held > 0 && many(actions - held, "action"),
    held > 0 && `${count(held)} held back`,
  ].filter(Boolean);
  if (held > 0) return { tone: "warn", text: parts.join(", "), more: looked };
  if (parts.length > 0) return { tone: "busy", text: parts.join(", "), more: looked };
  return { tone: fresh < proxies ? "warn" : "good", text: "All in order", more: looked };
}

function Latest({ cycle }: { cycle: CycleDocument | undefined }) {
  if (cycle === undefined) return <Nothing>The control loop has not looked yet.</Nothing>;
  const said = say(cycle);
  return (
    <p class="summary">
      <Verdict said={said} />
      <span class="muted">
        last look <Ago at={cycle.at} after=" ago" />, took {milliseconds(cycle)}
      </span>
    </p>
  );
}

function milliseconds(cycle: CycleDocument): string {
  return `${count(Math.max(1, cycle.duration_seconds * 1000))} ms`;
}

/** The last looks as bars: how long each took, and what came of it. */
function Strip({ cycles }: { cycles: CycleDocument[] }) {
  if (cycles.length < 2) return null;
  const top = Math.max(...cycles.map((cycle) => cycle.duration_seconds), 0.001);
  return (
    <figure class="strip">
    <svg viewBox={`0 0 ${STRIP * 10} 40`} preserveAspectRatio="none" role="img" aria-label={`The last ${cycles.length} looks; the longest took ${count(top * 1000)} ms`}>
      {[...cycles].reverse().map((cycle, index) => {
        const height = 4 + (cycle.duration_seconds / top) * 34;
        const x = (STRIP - cycles.length + index) * 10;
        return (
          <rect key={cycle.id} class={`tone-${say(cycle).tone}`} x={x} y={40 - height} width="8" height={height} rx="1.5">
            <title>{`${new Date(cycle.at).toLocaleTimeString("en-GB")}: ${say(cycle).text}, ${milliseconds(cycle)}`}</title>
          </rect>
        );
      })}
    </svg>
    <figcaption class="hint">The last {count(cycles.length)} looks: the higher a bar, the longer it took (at most {count(top * 1000)} ms).</figcaption>
    </figure>
  );
}

function Look({ cycle }: { cycle: CycleDocument }) {
  const said = say(cycle);
  return (
    <li>
      <p>
        <At at={cycle.at} />
        <Verdict said={said} />
        <span class="muted">
          {CAUSES[cycle.cause] ?? cycle.cause.replace(/ keys rang$/, " keys have changed").replace(/ rang$/, " has changed")}, {milliseconds(cycle)}
        </span>
      </p>
      {cycle.actions.length > 0 && (
        <ul>
          {cycle.actions.slice(0, ACTIONS_SHOWN).map((action, index) => (
            <ActionLine key={index} action={action} />
          ))}
          {cycle.actions.length > ACTIONS_SHOWN && <li class="muted">and {count(cycle.actions.length - ACTIONS_SHOWN)} more</li>}
        </ul>
      )}
    </li>
  );
}

function ActionLine({ action }: { action: ActionDocument }) {
  const isHeld = action.verb === "hold";
  return (
    <li class={isHeld ? "held" : undefined}>
      <strong>{VERBS[action.verb] ?? action.verb}</strong> <a href={streamLink(action.stream_id)}>{action.key}</a>
      {action.proxy_id && <> on {action.proxy_id}</>}: {action.why.replace("->", "→")}
      {action.gate && <em>. Held until {action.gate}</em>}
      {action.drift_kind && <small class="tag">{DRIFTS[action.drift_kind] ?? action.drift_kind}</small>}
    </li>
  );
}
