// Plain English for what the API says in one word, and numbers as people read them. Pure.

import type { ConditionDocument, ControlDocument, DriftDocument, Freshness, SessionDocument, State, StreamDocument } from "./api";

export const STATES: State[] = ["PENDING", "STARTING", "LIVE", "STALLED", "ENDED", "CLOSED"];

export const STATE_MEANS: Record<State, string> = {
  PENDING: "Known, and not yet given to a proxy",
  STARTING: "A proxy was asked to carry it and was not yet seen to do so",
  LIVE: "A proxy was seen to carry it",
  STALLED: "It should flow and does not. That is not its end",
  ENDED: "Its end is decided; not everything of it was seen to stop yet",
  CLOSED: "It has ended, and nothing of it runs",
};

export const REASONS: Record<string, string> = {
  source_ended: "its source ended it",
  operator_stopped: "an operator stopped it",
  superseded: "a newer run took its key",
  source_lost: "its source does not list it any more",
  stall_timeout: "it stood still for too long",
  start_failed: "it could not be started",
  loop_detected: "it repeated the same pictures",
  upstream_ended: "its upstream came to an end",
  expired: "its time was up",
};

export const EVENTS: Record<string, string> = {
  announced: "It was announced",
  placed: "A proxy was asked to carry it",
  session_observed: "A proxy was seen to carry it",
  session_missing: "Its proxy was seen without it",
  session_finished: "Its session finished by itself",
  source_lost: "Its source went away",
  source_back: "Its source came back",
  flow_lost: "Its data stopped coming",
  flow_back: "Its data came again",
  end: "Its end was announced",
  stop: "It was stopped",
  superseded: "A newer run took its key",
  all_gone: "Everything of it was seen to be gone",
};

export const DRIFTS: Record<string, string> = {
  missing_session: "Should run and does not",
  proxy_lost: "Its proxy is out of reach",
  orphan_ended: "Still runs after its end",
  orphan_superseded: "An older run still runs",
  orphan_generation: "A replaced session still runs",
  orphan_unknown: "Runs, and nobody asked for it",
  generation_ahead: "The proxy is ahead of the database",
  newer_than_database: "Newer than the database",
  placement_not_stopping: "Ended, but not told to stop",
  stuck_stopping: "Told to stop, and still there",
  state_not_observed: "Live, and nobody runs it",
  duplicate_session: "Runs on two proxies",
  wrong_spec: "Runs with wrong settings",
  foreign_session: "Belongs to another installation",
  unknown_proxy: "Its proxy is not configured any more",
  outbox_stuck: "Its proxy takes no command",
  observed_lag: "Asked for, and not seen",
  silent_source: "Its source does not answer",
};

export const DRIFT_CLASSES: Record<DriftDocument["drift_class"], string> = {
  A: "Safe: it only starts something",
  E: "Repaired at once: the database says that it is over",
  N: "Held first: the database does not know it",
  R: "Only reported, never repaired by itself",
};

export const VERBS: Record<string, string> = {
  place: "Start",
  replace: "Replace",
  move: "Move",
  resend: "Ask again",
  stop: "Stop",
  observe: "Seen running",
  confirm_gone: "Seen gone",
  advance: "Change state",
  hold: "Hold",
};

export const FRESHNESS: Record<Freshness, string> = {
  fresh: "Answers",
  stale: "Did not answer just now",
  lost: "Out of reach for too long",
  never: "Not reached since the controller started",
};

export const CAUSES: Record<string, string> = {
  resync: "regular look",
  start: "controller start",
};

export type Tone = "good" | "busy" | "warn" | "bad" | "quiet";

export interface Said {
  tone: Tone;
  text: string;
  more: string;
}

/** Whether data flows, from the condition `Flowing`. */
export function flow(stream: StreamDocument): Said {
  if (stream.state === "CLOSED") return { tone: "quiet", text: "Closed", more: "" };
  const condition = stream.conditions.find((one) => one.type === "Flowing");
  if (condition === undefined) return { tone: "quiet", text: "Not known", more: "No proxy was seen to carry it" };
  const looping = stream.conditions.find((one) => one.type === "Looping");
  if (condition.status === "True" && looping?.status === "True") return { tone: "warn", text: "Looping", more: looping.message };
  return sayFlow(condition);
}

/** Which of its upstreams a stream is read from now, the preferred one being 0; null when none is, or it is not known. */
export function plays(stream: StreamDocument): number | null {
  return stream.sessions.find((one) => one.state === "flowing" && one.is_fresh)?.upstream_index ?? null;
}

function sayFlow(condition: ConditionDocument): Said {
  const more = condition.message;
  if (condition.status === "True") return { tone: "good", text: "Flowing", more };
  switch (condition.reason) {
    case "Idle":
      return { tone: "quiet", text: "Idle", more: more || "Opens when somebody watches" };
    case "Connecting":
      return { tone: "busy", text: "Connecting", more };
    case "Waiting":
      return { tone: "warn", text: "Waiting to reconnect", more };
    case "ProxyUnreachable":
      return { tone: "warn", text: "Proxy does not answer", more };
    case "Finished":
      return { tone: "quiet", text: "Finished", more };
    default:
      return { tone: "warn", text: "No data", more };
  }
}

const SESSION_WORDS: Record<string, string> = {
  idle: "Idle, opens when somebody watches",
  connecting: "Connecting to its upstream",
  flowing: "Flowing",
  stalled: "No data comes",
  waiting: "Waiting to reconnect",
  finished: "Finished by itself",
};

/** What a proxy runs, in words. */
export function sayRuns(session: SessionDocument): string {
  if (session.state === null) return "Nothing";
  const words = SESSION_WORDS[session.state] ?? session.state;
  const why = session.state === "finished" ? session.finished_reason : session.detail;
  return why ? `${words} (${why})` : words;
}

/** What the database asks of a proxy, in words. */
export function sayAsks(session: SessionDocument): string {
  switch (session.placement_state) {
    case "requested":
      return "Run it (asked)";
    case "observed":
      return "Run it";
    case "stopping":
      return "Stop it";
    case "gone":
      return "Nothing any more";
    case null:
      return "Nothing";
  }
}

/** Compare what is asked for with what runs. */
export function judge(session: SessionDocument): Said & { isDifferent: boolean } {
  const runs = session.state !== null && session.state !== "finished";
  const is = (tone: Tone, text: string, more = "", isDifferent = true) => ({ tone, text, more, isDifferent });
  const stale = session.is_fresh ? "" : "The proxy does not answer: this is what was seen last";
  switch (session.placement_state) {
    case "requested":
      if (!session.is_fresh) return is("warn", "Not known", stale);
      return runs ? is("good", "As asked", "", false) : is("busy", "Starting", "Asked for, and not yet seen to run");
    case "observed":
      if (!session.is_fresh) return is("warn", "Not known", stale);
      if (session.state === "finished") return is("warn", "Finished", "It ended by itself; the control loop takes note");
      return runs ? is("good", "As asked", "", false) : is("bad", "Missing", "It should run and was not seen");
    case "stopping":
      return session.state === null
        ? is("busy", "Stopping", "Not seen any more; the next look confirms it")
        : is("busy", "Stopping", stale || "It still runs");
    default:
      return runs ? is("bad", "Nobody asked", stale || "It runs without a placement") : is("quiet", "Over", "", false);
  }
}

const MODES: Record<string, string> = {
  enforce: "everything is allowed",
  additive_only: "the control loop starts what is missing, and stops nothing",
  observe: "the control loop looks, and does nothing",
};

/** What an operator has set, and what that means. */
export function sayControl(control: ControlDocument): Said {
  switch (control.name) {
    case "pause":
      return { tone: "warn", text: "Paused", more: MODES["observe"] ?? "" };
    case "mode":
      return { tone: control.value === "enforce" ? "good" : "warn", text: `Mode ${control.value}`, more: MODES[control.value] ?? "" };
    case "drain":
      return { tone: "busy", text: "Drained", more: "takes no new stream, and what it runs moves away" };
    case "decommission":
      return { tone: "quiet", text: "Decommissioned", more: "counts as gone while it does not answer" };
  }
}

/** Whether it keeps the control loop from anything. */
export function isLimiting(control: ControlDocument): boolean {
  return control.name === "pause" || (control.name === "mode" && control.value !== "enforce");
}

export function saySubject(control: ControlDocument): string {
  return { global: "Everything", proxy: `Proxy ${control.subject}`, stream: `Key ${control.subject}` }[control.scope];
}

/** The command that ends it. */
export function endOf(control: ControlDocument): string {
  const of = { global: "--all", proxy: `--proxy ${control.subject}`, stream: control.subject }[control.scope];
  return {
    pause: `penstock resume ${of}`,
    mode: `penstock mode unset ${of}`,
    drain: `penstock drain ${control.subject} --end`,
    decommission: `penstock decommission ${control.subject} --undo`,
  }[control.name];
}

/** The command that releases what is held, or tells more of it. */
export function releaseOf(key: string, gate: string, controls: ControlDocument[]): string {
  const approval = /penstock approve \w+/.exec(gate);
  if (approval !== null) return approval[0];
  const named = /^the end of (?:mode \w+|a pause) of (everything|(?:proxy|key) \S+?),? set by/.exec(gate)?.[1];
  const control = controls.find((one) => isLimiting(one) && saySubject(one).toLowerCase() === named?.toLowerCase());
  return control === undefined ? `penstock why ${key}` : endOf(control);
}

/** Say who did something. */
export function sayActor(actor: string): string {
  const [kind, name = ""] = split(actor, ":");
  if (kind === "source") return name === "anonymous" ? "A source without a name" : `Source ${name}`;
  if (kind === "operator") return `An operator (${name})`;
  return kind === "reconciler" ? "The control loop" : actor;
}

function split(text: string, by: string): [string, string?] {
  const at = text.indexOf(by);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

/** A length of time in its two largest units; `3 min 12 s`. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days > 0) return hours > 0 ? `${days} d ${hours} h` : `${days} d`;
  if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`;
  if (minutes > 0) return minutes < 10 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  return `${seconds} s`;
}

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const THREE = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export function count(number: number): string {
  return WHOLE.format(number);
}

/** `1 viewer`, `2 viewers`. */
export function many(number: number, one: string, more = `${one}s`): string {
  return `${WHOLE.format(number)} ${number === 1 ? one : more}`;
}

export function rate(bitsPerSecond: number): string {
  return scaled(bitsPerSecond, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]);
}

export function size(bytes: number): string {
  return scaled(bytes, ["B", "kB", "MB", "GB", "TB"]);
}

function scaled(number: number, units: string[]): string {
  let [value, step] = [number, 0];
  while (value >= 999.5 && step < units.length - 1) {
    value /= 1000;
    step += 1;
  }
  return `${THREE.format(value)} ${units[step]}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** A time of day; with its date when that is another than today's. */
export function clock(at: string | number, today = Date.now()): string {
  const time = new Date(at);
  const isToday = time.toDateString() === new Date(today).toDateString();
  return isToday ? CLOCK.format(time) : `${DAY.format(time)}, ${CLOCK.format(time)}`;
}

/** The bit rate at which a stream comes in, whoever carries it. */
export function incoming(stream: StreamDocument): number {
  return Math.max(0, ...stream.sessions.map((session) => session.bitrate_bps));
}

export function carriers(stream: StreamDocument): string[] {
  return [...new Set(stream.sessions.map((session) => session.proxy_id))];
}
