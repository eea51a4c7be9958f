// What holds the control loop back: the breaker, what operators have set, and each action that waits, with its command.

import type { ActionDocument, BreakerDocument, ControlDocument, ListOf, PlanDocument } from "./api";
import { always, useLive } from "./live";
import { Ago, At, Card, Cell, Copy, Loading, Nothing, Table, Verdict } from "./parts";
import { streamLink } from "./route";
import { clock, count, DRIFTS, endOf, isLimiting, many, releaseOf, sayControl, saySubject } from "./words";

const POLL_MILLISECONDS = 5000;
const PLAN_POLL_MILLISECONDS = 5000;
const ROWS_MAX = 200;

export function useControls(): ControlDocument[] {
  return useLive<ListOf<ControlDocument>>("/reconcile/controls", POLL_MILLISECONDS).document.value?.items ?? [];
}

function useBreaker(): BreakerDocument | null {
  return useLive<BreakerDocument>("/reconcile/breaker", POLL_MILLISECONDS).document.value;
}

/** What everybody has to know who looks at any page. */
export function LimitBanners() {
  const breaker = useBreaker();
  const limiting = useControls().filter(isLimiting);
  const narrow = limiting.filter((control) => control.scope !== "global");
  return (
    <>
      {breaker?.is_open && (
        <p class="banner tone-bad">
          <strong>The breaker is open:</strong> {breaker.cause}. Nothing is stopped for want of a row. <a href="#/limits">See what it holds</a>
        </p>
      )}
      {limiting
        .filter((control) => control.scope === "global")
        .map((control) => (
          <p class="banner tone-warn" key={control.name}>
            <strong>{control.name === "pause" ? "Everything is paused" : `The mode of everything is ${control.value}`}</strong> <Bounds control={control} />:{" "}
            {sayControl(control).more}. End it with <code>{endOf(control)}</code> <a href="#/limits">See what waits</a>
          </p>
        ))}
      {narrow.length > 0 && (
        <p class="banner tone-warn">
          <strong>The control loop is limited</strong> at {listed(narrow)}. <a href="#/limits">See the limits</a>
        </p>
      )}
    </>
  );
}

/** Of a proxy or a key: whether an operator keeps the control loop from it. */
export function LimitNote({ scope, subject }: { scope: "proxy" | "stream"; subject: string }) {
  const found = useControls().filter((control) => isLimiting(control) && control.scope === scope && control.subject === subject);
  return (
    <>
      {found.map((control) => (
        <small class="limit" key={control.name}>
          {sayControl(control).text} <Bounds control={control} />; <code>{endOf(control)}</code>
        </small>
      ))}
    </>
  );
}

function Bounds({ control }: { control: ControlDocument }) {
  return (
    <>
      by {control.owner}
      {control.expires_at === null ? ", without an end" : ` until ${clock(control.expires_at)}`}
      {control.why && ` (${control.why})`}
    </>
  );
}

function listed(controls: ControlDocument[]): string {
  const names = [...new Set(controls.map((control) => saySubject(control).replace(/^./, (first) => first.toLowerCase())))];
  return names.length <= 3 ? names.join(", ") : `${names.slice(0, 2).join(", ")} and ${names.length - 2} more`;
}

export function LimitsPage() {
  const breaker = useBreaker();
  const controls = useControls();
  const plan = useLive<PlanDocument>("/reconcile/plan", PLAN_POLL_MILLISECONDS, always);
  if (breaker === null) return <Loading />;
  const planned = plan.document.value;
  const held = (planned?.items ?? []).filter((action) => action.gate !== "");
  return (
    <>
      <h1>Limits</h1>
      <p class="hint">What holds the control loop back from repairing what it has found. What is ended, by its source or by an operator, ends all the same.</p>
      <BreakerCard breaker={breaker} digest={planned?.digest ?? ""} />
      <Card title="Modes and pauses" aside={<span class="muted">What operators have set; the narrowest mode counts, and any pause</span>}>
        {controls.length === 0 ? <Nothing>None: the control loop may do everything.</Nothing> : <ControlTable controls={controls} />}
      </Card>
      <Card title="Held back" aside={held.length > 0 && <span class="muted">{many(held.length, "action")}, each with what it waits for</span>}>
        {planned === null ? (
          plan.error.value === null ? <Loading /> : <Nothing>The plan cannot be read: {plan.error.value.message}</Nothing>
        ) : held.length === 0 ? (
          <Nothing>Nothing waits.</Nothing>
        ) : (
          <HeldTable held={held.slice(0, ROWS_MAX)} controls={controls} />
        )}
        {held.length > ROWS_MAX && <p class="hint">{count(held.length - ROWS_MAX)} more: <code>penstock plan</code> shows them all.</p>}
      </Card>
    </>
  );
}

function BreakerCard({ breaker, digest }: { breaker: BreakerDocument; digest: string }) {
  return (
    <Card title="Breaker" class="breaker">
      <p class="summary">
        {breaker.is_open ? (
          <Verdict said={{ tone: "bad", text: "Open", more: breaker.cause }} />
        ) : (
          <Verdict said={{ tone: "good", text: "Closed", more: "what no row tells of may be stopped, within its budget" }} />
        )}
        {breaker.opened_at !== null && (
          <span class="muted">
            for <Ago at={breaker.opened_at} />
          </span>
        )}
      </p>
      {breaker.is_open && (
        <p class="hint">
          What is missing is started as ever, and what is proven to be over is stopped slowly. Two quiet looks at everything close it, or
          the approval of exactly what it holds: once, within 15 minutes.
        </p>
      )}
      {(breaker.is_open || digest) && <Copy label="Show what is held" text="penstock plan" />}
      {digest && <Copy label="Approve exactly that" text={`penstock approve ${digest}`} />}
    </Card>
  );
}

function ControlTable({ controls }: { controls: ControlDocument[] }) {
  return (
    <Table label="Modes and pauses" columns={[{ name: "Of" }, { name: "What" }, { name: "Set by" }, { name: "Until" }, { name: "Why" }, { name: "To end it" }]}>
      {controls.map((control) => (
        <tr role="row" key={`${control.scope}/${control.subject}/${control.name}`}>
          <Cell of="Of" class="main">
            {control.scope === "stream" ? <a href={streamLink(control.subject)}>{saySubject(control)}</a> : <strong>{saySubject(control)}</strong>}
          </Cell>
          <Cell of="What">
            <Verdict said={sayControl(control)} />
          </Cell>
          <Cell of="Set by">
            {control.owner}
            <small>
              <Ago at={control.set_at} after=" ago" />
            </small>
          </Cell>
          <Cell of="Until">{control.expires_at === null ? "it is ended" : <At at={control.expires_at} />}</Cell>
          <Cell of="Why" class="long">
            {control.why || "–"}
          </Cell>
          <Cell of="To end it">
            <code>{endOf(control)}</code>
          </Cell>
        </tr>
      ))}
    </Table>
  );
}

function HeldTable({ held, controls }: { held: ActionDocument[]; controls: ControlDocument[] }) {
  return (
    <Table label="Held back" columns={[{ name: "What" }, { name: "Stream" }, { name: "Proxy" }, { name: "Evidence" }, { name: "Waits for" }, { name: "Command" }]}>
      {held.map((action) => (
        <tr role="row" key={`${action.stream_id}/${action.proxy_id}/${action.generation}/${action.drift_kind}`}>
          <Cell of="What" class="main">
            <Verdict said={{ tone: "warn", text: action.drift_kind === null ? "An action is held" : (DRIFTS[action.drift_kind] ?? action.drift_kind), more: "" }} />
          </Cell>
          <Cell of="Stream">
            <a href={streamLink(action.stream_id)}>{action.key}</a>
            <small>generation {action.generation}</small>
          </Cell>
          <Cell of="Proxy">{action.proxy_id || "–"}</Cell>
          <Cell of="Evidence" class="long">
            {action.why}
          </Cell>
          <Cell of="Waits for" class="long">
            {action.gate}
          </Cell>
          <Cell of="Command">
            <code>{releaseOf(action.key, action.gate, controls)}</code>
          </Cell>
        </tr>
      ))}
    </Table>
  );
}
