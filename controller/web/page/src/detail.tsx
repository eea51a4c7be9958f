// One run of a stream: what it is, why it is so, what was asked for and what runs, who watches.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { ListOf, State, StoryDocument, StreamDocument, TransitionDocument, ViewerList } from "./api";
import { LimitNote } from "./limits";
import { now, useLive } from "./live";
import { Ago, At, Card, Cell, Loading, Nothing, StateBadge, Table, Verdict } from "./parts";
import { PlayerCard } from "./player";
import { lastList } from "./route";
import { StopDialog } from "./stop";
import { clock, count, EVENTS, flow, incoming, judge, many, plays, rate, REASONS, sayActor, sayAsks, sayRuns, size, span } from "./words";

const POLL_MILLISECONDS = 5000;
const SLOW_POLL_MILLISECONDS = 15_000;
const SAMPLES_MAX = 120;
const CHANGES_SHOWN = 8;

export function StreamPage({ id }: { id: string }) {
  const path = `/streams/${encodeURIComponent(id)}`;
  const ofThis = (moved: TransitionDocument): boolean => moved.stream_id === id || moved.key === id;
  const live = useLive<StreamDocument>(path, POLL_MILLISECONDS, ofThis);
  const story = useLive<StoryDocument>(`${path}/why`, POLL_MILLISECONDS, ofThis);
  const past = useLive<ListOf<TransitionDocument>>(`${path}/transitions?limit=100`, SLOW_POLL_MILLISECONDS, ofThis);
  const isStopping = useSignal(false);
  const stopped = useSignal<StreamDocument | null>(null);

  const read = live.document.value;
  // What the answer to Stop said holds until something newer was read.
  const stream = stopped.value !== null && read !== null && isActive(read) ? stopped.value : read;
  if (live.error.value?.status === 404) {
    return (
      <Nothing>
        There is no stream <code>{id}</code> (any more). <a href={lastList.value}>Back to the streams</a>
      </Nothing>
    );
  }
  if (stream === null) return <Loading />;
  const name = stream.labels["name"] ?? stream.labels["title"];
  return (
    <>
      <header class="title">
        <a href={lastList.value} class="back">
          Streams
        </a>
        <h1>
          {stream.key}
          {name && name !== stream.key && <small>{name}</small>}
        </h1>
        <StateBadge state={stream.state} />
        <span class="muted">
          for <Ago at={stream.state_since} />
        </span>
        {isActive(stream) && (
          <button type="button" class="danger stop" onClick={() => (isStopping.value = true)}>
            Stop stream
          </button>
        )}
      </header>
      <LimitNote scope="stream" subject={stream.key} />
      <Figures stream={stream} />
      <div class="columns">
        <div>
          <WhyCard story={story.document.value} stream={stream} />
          <TimelineCard past={past.document.value?.items ?? []} />
        </div>
        <PlayerCard stream={stream} />
      </div>
      <SessionsCard stream={stream} />
      <div class="columns">
        <SpecCard stream={stream} />
        <ConditionsCard stream={stream} />
      </div>
      {isActive(stream) && <ViewersCard path={`${path}/viewers`} viewers={stream.viewers} />}
      {isStopping.value && (
        <StopDialog
          stream={stream}
          onStop={(answered) => {
            stopped.value = answered;
            live.ring();
            story.ring();
            past.ring();
          }}
          onClose={() => (isStopping.value = false)}
        />
      )}
    </>
  );
}

function isActive(stream: StreamDocument): boolean {
  return stream.state !== "ENDED" && stream.state !== "CLOSED";
}

function Figures({ stream }: { stream: StreamDocument }) {
  const out = stream.sessions.reduce((sum, session) => sum + session.bytes_out, 0);
  return (
    <dl class="figures">
      <div>
        <dt>Data</dt>
        <dd>{isActive(stream) ? <Verdict said={{ ...flow(stream), more: "" }} /> : "None"}</dd>
      </div>
      <div>
        <dt>Comes in at</dt>
        <dd>
          {incoming(stream) > 0 ? rate(incoming(stream)) : "–"}
          <Sparkline value={incoming(stream)} read={stream} />
        </dd>
      </div>
      <div>
        <dt>Viewers</dt>
        <dd>{count(stream.viewers)}</dd>
      </div>
      <div>
        <dt>Sent to viewers</dt>
        <dd>{size(out)}</dd>
      </div>
      <div>
        <dt>Source</dt>
        <dd>{stream.source}</dd>
      </div>
      {stream.reason !== null && (
        <div>
          <dt>Ended because</dt>
          <dd>
            {REASONS[stream.reason] ?? stream.reason}
            {stream.reason_detail && <small> {stream.reason_detail}</small>}
          </dd>
        </div>
      )}
    </dl>
  );
}

/** The bit rate since this page was opened. */
function Sparkline({ value, read }: { value: number; read: StreamDocument }) {
  const samples = useRef<number[]>([]);
  const last = useRef<StreamDocument | null>(null);
  if (last.current !== read) {
    last.current = read;
    samples.current = [...samples.current, value].slice(-SAMPLES_MAX);
  }
  const top = Math.max(...samples.current);
  if (samples.current.length < 3 || top === 0) return null;
  const step = 100 / (samples.current.length - 1);
  const points = samples.current.map((one, index) => `${(index * step).toFixed(1)},${(23 - (one / top) * 21).toFixed(1)}`);
  return (
    <svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={`Bit rate since this page was opened, ${rate(top)} at most`}>
      <polyline points={points.join(" ")} fill="none" stroke="currentColor" stroke-width="1.5" vector-effect="non-scaling-stroke" />
    </svg>
  );
}

function WhyCard({ story, stream }: { story: StoryDocument | null; stream: StreamDocument }) {
  return (
    <Card title="Why it is so">
      {story === null || story.state !== stream.state ? (
        <Loading />
      ) : (
        <div class="why">
          <p class="lead">{story.summary.replace(/ \(epoch \d+\)/, "")}</p>
          {story.waits_for && <p class="waits">It waits for {story.waits_for}.</p>}
          <ul>
            {story.sentences
              .filter((sentence) => sentence.at === null)
              .map((sentence) => (
                <li key={sentence.text}>{sentence.text}</li>
              ))}
          </ul>
          {story.sentences.some((sentence) => sentence.at !== null) && (
            <details>
              <summary>The whole story</summary>
              <ol>
                {story.sentences.map((sentence, index) => (
                  <li key={index}>
                    {sentence.at && <At at={sentence.at} />} {sentence.text}
                  </li>
                ))}
              </ol>
            </details>
          )}
        </div>
      )}
    </Card>
  );
}

function TimelineCard({ past }: { past: TransitionDocument[] }) {
  const isWhole = useSignal(false);
  return (
    <Card title="Timeline" aside={past.length > 0 && <span class="muted">{many(past.length, "change")}, newest first</span>}>
      <StateBar past={past} />
      <ol class="timeline">
        {past.slice(0, isWhole.value ? past.length : CHANGES_SHOWN).map((moved) => (
          <li key={moved.id} class={`state-${moved.to_state.toLowerCase()}`}>
            <p>
              <StateBadge state={moved.to_state} />
              <span>{EVENTS[moved.event] ?? moved.event}</span>
              <At at={moved.at} />
            </p>
            <small>
              {[moved.reason !== null && (REASONS[moved.reason] ?? moved.reason), moved.detail].filter(Boolean).map((text) => (
                <span key={text as string}>{text} · </span>
              ))}
              {sayActor(moved.actor)}
              {moved.cause && moved.cause !== moved.detail && (
                <>
                  : <code>{moved.cause}</code>
                </>
              )}
            </small>
          </li>
        ))}
      </ol>
      {past.length > CHANGES_SHOWN && !isWhole.value && (
        <p class="more">
          <button type="button" class="plain" onClick={() => (isWhole.value = true)}>
            Show all {many(past.length, "change")}
          </button>
        </p>
      )}
    </Card>
  );
}

/** How long it was in which state, as one bar. */
function StateBar({ past }: { past: TransitionDocument[] }) {
  const moves = [...past].reverse();
  const first = moves[0];
  if (first === undefined) return null;
  const end = moves.at(-1)?.to_state === "CLOSED" ? Date.parse(moves.at(-1)?.at ?? "") : now.value;
  const whole = Math.max(1, end - Date.parse(first.at));
  let x = 0;
  const parts = moves.map((moved, index) => {
    const until = moves[index + 1];
    const lasted = Math.max(0, (until ? Date.parse(until.at) : end) - Date.parse(moved.at));
    const part = { state: moved.to_state, lasted, x, width: (lasted / whole) * 100 };
    x += part.width;
    return part;
  });
  const told = parts.filter((part) => part.lasted > 0);
  return (
    <div class="statebar">
      <svg viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label={told.map((part) => `${part.state} ${span(part.lasted)}`).join(", ")}>
        {told.map((part, index) => (
          <rect key={index} class={`fill-${part.state.toLowerCase()}`} x={part.x} y="0" width={Math.max(part.width, 0.4)} height="8">
            <title>{`${part.state satisfies State} for ${span(part.lasted)}`}</title>
          </rect>
        ))}
      </svg>
      <span>{clock(first.at)}</span>
      <span>{moves.at(-1)?.to_state === "CLOSED" ? clock(end) : "now"}</span>
    </div>
  );
}

function SpecCard({ stream }: { stream: StreamDocument }) {
  const { spec } = stream;
  const isChoice = spec.upstreams.length > 1;
  const playing = plays(stream);
  const labels = Object.entries(stream.labels);
  return (
    <Card title="What was announced">
      <dl class="facts">
        <dt>{isChoice ? `Upstreams, ${spec.prefer === "first" ? "the first preferred" : "in this order"}` : "Upstream"}</dt>
        <dd>
          {spec.upstreams.map((upstream, index) => (
            <div key={upstream.url}>
              <code>{upstream.url}</code>
              {isChoice && index === playing && <small> plays now</small>}
              {Object.keys(upstream.headers).length > 0 && <small> with {Object.keys(upstream.headers).join(", ")}</small>}
            </div>
          ))}
        </dd>
        <dt>Outputs</dt>
        <dd>{spec.outputs.map((output) => (output === "ts" ? "MPEG-TS" : "HLS")).join(", ")}</dd>
        <dt>Pulled</dt>
        <dd>{spec.on_demand ? "only while somebody watches (on demand)" : "all the time"}</dd>
        <dt>When the upstream ends</dt>
        <dd>{spec.on_eof === "end" ? "the stream ends too" : "it is opened again"}</dd>
        {spec.viewers_max !== null && (
          <>
            <dt>Viewers at most</dt>
            <dd>{count(spec.viewers_max)}</dd>
          </>
        )}
        {stream.stall_timeout_seconds !== null && (
          <>
            <dt>Ends when stalled for</dt>
            <dd>{span(stream.stall_timeout_seconds * 1000)}</dd>
          </>
        )}
        {stream.expires_at !== null && (
          <>
            <dt>Expires</dt>
            <dd>
              <At at={stream.expires_at} />
            </dd>
          </>
        )}
        {labels.length > 0 && (
          <>
            <dt>Labels</dt>
            <dd class="labels">
              {labels.map(([name, value]) => (
                <code key={name}>
                  {name}={value}
                </code>
              ))}
            </dd>
          </>
        )}
        <dt>Run</dt>
        <dd>
          <code>{stream.id}</code>
          <small> epoch {stream.epoch}: rises with every run of this key</small>
        </dd>
      </dl>
    </Card>
  );
}

function SessionsCard({ stream }: { stream: StreamDocument }) {
  return (
    <Card title="Desired against observed" aside={<span class="muted">What the database asks for, and what the proxy runs</span>}>
      {stream.sessions.length === 0 ? (
        <Nothing>Nothing is asked for, and nothing runs.</Nothing>
      ) : (
        <Table
          label="Placements and sessions"
          columns={[{ name: "Verdict" }, { name: "Proxy" }, { name: "Generation", isNumber: true }, { name: "Asked for" }, { name: "Runs" }, { name: "Last byte" }, { name: "Viewers", isNumber: true }, { name: "Bit rate", isNumber: true }]}
        >
          {stream.sessions.map((session) => (
            <tr role="row" key={`${session.proxy_id}/${session.generation}`}>
              <Cell of="Verdict">
                <Verdict said={judge(session)} />
              </Cell>
              <Cell of="Proxy">{session.proxy_id}</Cell>
              <Cell of="Generation" isNumber>
                {session.generation}
              </Cell>
              <Cell of="Asked for">
                {sayAsks(session)}
                {session.placement_state && <small>for <Ago at={session.stopping_at ?? session.requested_at} /></small>}
              </Cell>
              <Cell of="Runs">
                {sayRuns(session)}
                {session.state && <small>up for {span(session.uptime_seconds * 1000)}</small>}
              </Cell>
              <Cell of="Last byte">
                {session.last_byte_age_seconds === null ? "–" : `${span(session.last_byte_age_seconds * 1000)} ago`}
              </Cell>
              <Cell of="Viewers" isNumber>
                {count(session.viewers)}
                {session.viewers > 0 && <small>{session.viewers_ts} TS, {session.viewers_hls} HLS</small>}
              </Cell>
              <Cell of="Bit rate" isNumber>
                {session.bitrate_bps > 0 ? rate(session.bitrate_bps) : "–"}
              </Cell>
            </tr>
          ))}
        </Table>
      )}
    </Card>
  );
}

const CONDITIONS: Record<string, string> = {
  Placed: "A proxy carries it",
  Flowing: "Data flows",
  SourceOnline: "Its source is there",
  SessionsStopped: "Everything of it has stopped",
  EpochRegressed: "Its source numbers its runs backwards",
  EndHeld: "Its end is held back",
  Looping: "It plays old pictures",
  Paused: "It is paused",
};

function ConditionsCard({ stream }: { stream: StreamDocument }) {
  if (stream.conditions.length === 0) return null;
  return (
    <Card title="Conditions" aside={<span class="muted">What may change without changing the state</span>}>
      <Table label="Conditions" columns={[{ name: "Condition" }, { name: "Status" }, { name: "Reason" }, { name: "For" }]}>
        {stream.conditions.map((condition) => (
          <tr role="row" key={condition.type}>
            <Cell of="Condition" class="main">
              {CONDITIONS[condition.type] ?? condition.type}
              <small>{condition.type}</small>
            </Cell>
            <Cell of="Status">{{ True: "Yes", False: "No", Unknown: "Not known" }[condition.status]}</Cell>
            <Cell of="Reason">
              {condition.reason}
              {condition.message && <small>{condition.message}</small>}
            </Cell>
            <Cell of="For">
              <Ago at={condition.since} />
            </Cell>
          </tr>
        ))}
      </Table>
    </Card>
  );
}

function ViewersCard({ path, viewers }: { path: string; viewers: number }) {
  const list = useLive<ViewerList>(path, POLL_MILLISECONDS);
  // The list is asked of the proxies; read it again when their count has changed.
  useEffect(() => list.ring(), [viewers]);
  const found = list.document.value;
  return (
    <Card title="Viewers">
      {found === null ? (
        <Loading />
      ) : found.items.length === 0 ? (
        <Nothing>Nobody watches.</Nothing>
      ) : (
        <Table
          label="Viewers"
          columns={[{ name: "Address" }, { name: "Player" }, { name: "By" }, { name: "Watches for", isNumber: true }, { name: "Sent", isNumber: true }, { name: "Bit rate", isNumber: true }, { name: "Behind", isNumber: true }]}
        >
          {found.items.map((viewer) => (
            <tr role="row" key={viewer.id}>
              <Cell of="Address" class="main">
                {viewer.address}
              </Cell>
              <Cell of="Player" class="long">
                {viewer.user_agent || <span class="muted">does not say</span>}
              </Cell>
              <Cell of="By">{viewer.protocol === "ts" ? "MPEG-TS" : "HLS"}</Cell>
              <Cell of="Watches for" isNumber>
                {span(viewer.since_seconds * 1000)}
              </Cell>
              <Cell of="Sent" isNumber>
                {size(viewer.bytes_sent)}
              </Cell>
              <Cell of="Bit rate" isNumber>
                {rate(viewer.rate_bps)}
              </Cell>
              <Cell of="Behind" isNumber>
                {size(viewer.lag_bytes)}
                {viewer.moves > 0 && <small>moved to the newest picture {many(viewer.moves, "time")}</small>}
              </Cell>
            </tr>
          ))}
        </Table>
      )}
      {found !== null && found.unreachable.length > 0 && <p class="hint">Did not answer: {found.unreachable.join(", ")}</p>}
    </Card>
  );
}
