// The list of streams. What it shows of it stands in the address: text, states, order, history.

import { useComputed, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { ListOf, State, StreamDocument } from "./api";
import { always, onTransition, useLive } from "./live";
import { Ago, Cell, Copy, Loading, Nothing, StateBadge, Switch, Table, Verdict } from "./parts";
import { route, setParams, streamLink } from "./route";
import { Thumb } from "./thumb";
import { carriers, count, flow, incoming, many, rate, REASONS, STATES } from "./words";

const POLL_MILLISECONDS = 5000;
/** A picture costs its proxy a tenth of a second or more: a list of many is shown new ones rarely. */
const THUMB_MILLISECONDS = 60_000;
const ROWS = 200;
const READ_MAX = 1000;
/** A run stays in sight for so long after it has closed. */
const FAREWELL_MILLISECONDS = 12_000;

type Order = "key" | "state" | "viewers" | "bitrate" | "since";
const ORDERS: Record<Order, (a: StreamDocument, b: StreamDocument) => number> = {
  key: (a, b) => a.key.localeCompare(b.key) || b.epoch - a.epoch,
  state: (a, b) => URGENCY[a.state] - URGENCY[b.state],
  viewers: (a, b) => b.viewers - a.viewers,
  bitrate: (a, b) => incoming(b) - incoming(a),
  since: (a, b) => b.state_since.localeCompare(a.state_since),
};
const URGENCY: Record<State, number> = { STALLED: 0, ENDED: 1, PENDING: 2, STARTING: 3, LIVE: 4, CLOSED: 5 };

export function StreamsPage() {
  const { params } = route.value;
  const text = (params.get("q") ?? "").trim().toLowerCase();
  const states = (params.get("state") ?? "").split(",").filter((one): one is State => STATES.includes(one as State));
  const hasHistory = params.get("history") === "1";
  const [orderName, isReversed] = readOrder(params.get("order") ?? "");
  const rowsMax = useSignal(ROWS);

  const list = useLive<ListOf<StreamDocument>>(
    `/streams?limit=${READ_MAX}${hasHistory ? "&status=all" : ""}`,
    POLL_MILLISECONDS,
    always,
  );
  const departed = useDeparted(list.document.value?.items ?? []);
  if (list.document.value === null) return <Loading />;

  const all = [...list.document.value.items, ...departed];
  const found = all.filter((stream) => text === "" || isAbout(stream, text));
  const shown = found.filter((stream) => states.length === 0 || states.includes(stream.state));
  shown.sort((a, b) => (isReversed ? -1 : 1) * ORDERS[orderName](a, b) || ORDERS.key(a, b));
  const isFiltered = text !== "" || states.length > 0;

  const toggle = (state: State): void => {
    const next = states.includes(state) ? states.filter((one) => one !== state) : [...states, state];
    setParams({ state: next.join(",") });
  };
  const column = (name: string, order: Order, isNumber = false) => ({
    name,
    isNumber,
    sort: {
      direction: orderName !== order ? ("none" as const) : isReversed ? ("descending" as const) : ("ascending" as const),
      toggle: () => setParams({ order: orderName === order && !isReversed ? `-${order}` : order === "key" && !isReversed ? "" : order }),
    },
  });

  return (
    <>
      <h1 class="unseen">Streams</h1>
      <div class="tools">
        <search>
          <input
            id="filter"
            type="search"
            placeholder="Filter by key, source, proxy, label"
            aria-label="Filter streams"
            value={params.get("q") ?? ""}
            onInput={(event) => setParams({ q: event.currentTarget.value })}
          />
          <kbd aria-hidden="true">/</kbd>
        </search>
        <div class="chips" role="group" aria-label="Show only these states">
          {STATES.filter((state) => state !== "CLOSED" || hasHistory).map((state) => (
            <button
              key={state}
              type="button"
              class={found.some((stream) => stream.state === state) ? "chip" : "chip none"}
              aria-pressed={states.includes(state)}
              onClick={() => toggle(state)}
            >
              <StateBadge state={state} />
              <span>{count(found.filter((stream) => stream.state === state).length)}</span>
            </button>
          ))}
        </div>
        <Switch label="Show history" isOn={hasHistory} onChange={(isOn) => setParams({ history: isOn ? "1" : "", state: states.filter((one) => one !== "CLOSED").join(",") })} />
      </div>
      {all.length === 0 && <Welcome />}
      {all.length > 0 && shown.length === 0 && (
        <Nothing>
          No stream is like that.{" "}
          <button type="button" class="plain" onClick={() => setParams({ q: "", state: "" })}>
            Show all {count(all.length)}
          </button>
        </Nothing>
      )}
      {shown.length > 0 && (
        <Table
          label="Streams"
          columns={[
            column("State", "state"),
            column("Stream", "key"),
            { name: "Data" },
            column("Viewers", "viewers", true),
            column("Bit rate", "bitrate", true),
            column("In this state for", "since"),
            { name: "Source" },
            { name: "Proxy" },
          ]}
        >
          {shown.slice(0, rowsMax.value).map((stream) => (
            <Row key={stream.id} stream={stream} />
          ))}
        </Table>
      )}
      <p class="foot">
        {shown.length > 0 && (isFiltered ? `${count(shown.length)} of ${many(all.length, "stream")}` : many(all.length, "stream"))}
        {shown.length > rowsMax.value && (
          <button type="button" onClick={() => (rowsMax.value += ROWS * 5)}>
            Show more ({count(shown.length - rowsMax.value)} left)
          </button>
        )}
        {list.document.value.next_cursor !== null && (
          <span>Only the first {count(READ_MAX)} were read; the API and `penstock get streams` list them all.</span>
        )}
      </p>
    </>
  );
}

function readOrder(text: string): [Order, boolean] {
  const name = text.replace(/^-/, "");
  return [name in ORDERS ? (name as Order) : "key", text.startsWith("-")];
}

function isAbout(stream: StreamDocument, text: string): boolean {
  const labels = Object.entries(stream.labels).map(([name, value]) => `${name}=${value}`);
  return [stream.key, stream.source, stream.id, ...carriers(stream), ...labels].some((one) => one.toLowerCase().includes(text));
}

function Row({ stream }: { stream: StreamDocument }) {
  const name = stream.labels["name"] ?? stream.labels["title"] ?? stream.labels["tvg-name"];
  return (
    <tr role="row" class={stream.state === "CLOSED" ? "past" : undefined}>
      <Cell of="State">
        <StateBadge state={stream.state} />
      </Cell>
      <Cell of="Stream" class="main">
        <a class="row-link" href={streamLink(stream.id)}>
          {stream.key}
        </a>
        {name && name !== stream.key && <small>{name}</small>}
        <Thumb stream={stream} every={THUMB_MILLISECONDS} />
      </Cell>
      <Cell of="Data">
        {stream.state === "ENDED" || stream.state === "CLOSED" ? (
          <span class="muted">{REASONS[stream.reason ?? ""] ?? stream.reason}</span>
        ) : (
          <Verdict said={flow(stream)} />
        )}
      </Cell>
      <Cell of="Viewers" isNumber>
        {count(stream.viewers)}
      </Cell>
      <Cell of="Bit rate" isNumber>
        {incoming(stream) > 0 ? rate(incoming(stream)) : <span class="muted">–</span>}
      </Cell>
      <Cell of="For">
        <Ago at={stream.state_since} />
      </Cell>
      <Cell of="Source">{stream.source}</Cell>
      <Cell of="Proxy">{carriers(stream).join(", ") || <span class="muted">none</span>}</Cell>
    </tr>
  );
}

/** Runs that closed while they were looked at: they leave after a moment, not under the reader's eyes. */
function useDeparted(present: StreamDocument[]): StreamDocument[] {
  const known = useSignal(new Map<string, StreamDocument>());
  const gone = useSignal<StreamDocument[]>([]);
  for (const stream of present) known.peek().set(stream.id, stream);
  useEffect(
    () =>
      onTransition((moved) => {
        const last = known.peek().get(moved.stream_id);
        if (moved.to_state !== "CLOSED" || last === undefined) return;
        const closed: StreamDocument = { ...last, state: "CLOSED", state_since: moved.at, sessions: [], viewers: 0, reason: last.reason ?? moved.reason };
        gone.value = [...gone.peek().filter((one) => one.id !== closed.id), closed];
        known.peek().delete(moved.stream_id);
        setTimeout(() => {
          gone.value = gone.peek().filter((one) => one.id !== closed.id);
        }, FAREWELL_MILLISECONDS);
      }),
    [],
  );
  return useComputed(() => gone.value).value.filter((one) => !present.some((stream) => stream.id === one.id));
}

function Welcome() {
  const line = `mosquitto_pub -h ${location.hostname} -q 1 -t penstock/v1/streams/cam-7/started -m '{"upstreams":["http://camera.example/live.ts"]}'`;
  return (
    <section class="welcome">
      <h2>No streams yet</h2>
      <p>
        A stream appears here as soon as somebody announces it over MQTT. Anything that can publish a message will do:
      </p>
      <Copy label="Announce a stream called cam-7" text={line} />
      <p class="hint">
        The upstream is any address that Penstock can pull: MPEG-TS or HLS over HTTP, UDP, RTP, RTSP, RTMP, SRT.{" "}
        <code>demo:</code> is a test clip that needs nothing else. Without a broker at hand, <code>POST /streams</code> does the same.
      </p>
    </section>
  );
}
