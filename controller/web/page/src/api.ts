// The documents of the REST API that the page reads, as controller/api/schemas.py has them, and how they are asked for.
// It knows nothing of the page.

export type State = "PENDING" | "STARTING" | "LIVE" | "STALLED" | "ENDED" | "CLOSED";
export type Output = "ts" | "hls";
export type SessionState = "idle" | "connecting" | "flowing" | "stalled" | "waiting" | "finished";
export type PlacementState = "requested" | "observed" | "stopping" | "gone";
export type Freshness = "fresh" | "stale" | "lost" | "never";

export interface ListOf<T> {
  items: T[];
  next_cursor: string | null;
}

export interface ConditionDocument {
  type: string;
  status: "True" | "False" | "Unknown";
  reason: string;
  message: string;
  since: string;
  observed_generation: number;
}

export interface SessionDocument {
  proxy_id: string;
  generation: number;
  is_fresh: boolean;
  placement_state: PlacementState | null;
  requested_at: string | null;
  observed_at: string | null;
  stopping_at: string | null;
  state: SessionState | null;
  finished_reason: string;
  detail: string;
  outputs: Output[];
  upstream_index: number | null;
  viewers: number;
  viewers_ts: number;
  viewers_hls: number;
  bytes_in: number;
  bytes_out: number;
  bitrate_bps: number;
  last_byte_age_seconds: number | null;
  uptime_seconds: number;
  datagrams_lost: number;
}

export interface StreamSessionDocument extends SessionDocument {
  stream_id: string;
  key: string;
  epoch: number;
}

export interface UpstreamDocument {
  url: string;
  headers: Record<string, string>;
  connections_max: number | null;
}

export interface SpecDocument {
  upstreams: UpstreamDocument[];
  outputs: Output[];
  on_demand: boolean;
  on_eof: "reconnect" | "end";
  viewers_max: number | null;
  prefer: "first" | "stay";
  return_after_seconds: number;
  loop: "watch" | "allow";
}

export interface LinksDocument {
  ts: string | null;
  hls: string | null;
  thumb: string | null;
  watch: string;
}

export interface StreamDocument {
  id: string;
  key: string;
  epoch: number;
  state: State;
  state_since: string;
  reason: string | null;
  reason_detail: string;
  outcome: "completed" | "failed" | null;
  source: string;
  conditions: ConditionDocument[];
  sessions: SessionDocument[];
  viewers: number;
  labels: Record<string, string>;
  spec: SpecDocument;
  spec_generation: number;
  generation: number;
  failures: number;
  retry_at: string | null;
  expires_at: string | null;
  stall_timeout_seconds: number | null;
  created_at: string;
  ended_at: string | null;
  closed_at: string | null;
  links: LinksDocument;
}

export interface TransitionDocument {
  id: number;
  at: string;
  stream_id: string;
  key: string;
  epoch: number;
  event: string;
  from_state: State | null;
  to_state: State;
  reason: string | null;
  detail: string;
  actor: string;
  cause: string;
}

export interface ViewerDocument {
  id: string;
  proxy_id: string;
  stream_id: string;
  key: string;
  protocol: Output;
  address: string;
  user_agent: string;
  since_seconds: number;
  bytes_sent: number;
  lag_bytes: number;
  rate_bps: number;
  moves: number;
}

export interface ViewerList extends ListOf<ViewerDocument> {
  unreachable: string[];
}

export interface SentenceDocument {
  at: string | null;
  text: string;
}

export interface StoryDocument {
  id: string;
  key: string;
  state: State;
  summary: string;
  sentences: SentenceDocument[];
  waits_for: string | null;
  text: string;
}

export interface ProxyDocument {
  id: string;
  url: string;
  public_url: string;
  freshness: Freshness;
  boot_id: string;
  sequence: number;
  observed_at: string | null;
  error: string;
  is_draining: boolean;
  is_decommissioned: boolean;
  is_synced: boolean;
  sessions: number;
  sessions_max: number;
  viewers: number;
  bitrate_bps: number;
}

export interface DriftDocument {
  id: number;
  kind: string;
  drift_class: "A" | "E" | "N" | "R";
  key: string;
  stream_id: string;
  proxy_id: string;
  generation: number;
  source_id: string;
  evidence: string;
  action: string;
  gate: string;
  first_seen: string;
  last_seen: string;
  looks: number;
  repaired_at: string | null;
}

export interface ActionDocument {
  verb: string;
  key: string;
  stream_id: string;
  proxy_id: string;
  generation: number;
  why: string;
  drift_kind: string | null;
  gate: string;
}

export interface CycleDocument {
  id: number;
  at: string;
  cause: string;
  token: number;
  duration_seconds: number;
  counts: Record<string, number>;
  actions: ActionDocument[];
  error: string;
}

export interface BreakerDocument {
  is_open: boolean;
  opened_at: string | null;
  cause: string;
}

export interface PlanDocument {
  items: ActionDocument[];
  next_cursor: string | null;
  is_empty: boolean;
  digest: string;
  breaker: BreakerDocument;
}

export interface ControlDocument {
  scope: "global" | "proxy" | "stream";
  subject: string;
  name: "mode" | "pause" | "drain" | "decommission";
  value: string;
  owner: string;
  why: string;
  set_at: string;
  expires_at: string | null;
}

export interface CheckDocument {
  ok: boolean;
  detail: string;
}

export interface ReadyDocument {
  ready: boolean;
  is_leader: boolean;
  leader: string;
  database: CheckDocument;
  observation: CheckDocument;
  broker: CheckDocument;
}

export interface SyncCheck {
  state: { stream_count: number; stream_keys: string[] };
  ts_proxy: { session_count: number; session_keys: string[] };
  hls_proxy: { session_count: number; session_keys: string[] };
  discrepancies: {
    orphaned_ts_sessions: string[];
    orphaned_hls_sessions: string[];
    missing_ts_sessions: string[];
    missing_hls_sessions: string[];
    has_issues: boolean;
  };
}

/** The API answered, and said no. */
export class RefusedError extends Error {
  constructor(
    readonly status: number,
    detail: string,
  ) {
    super(detail);
  }
}

/** Nobody answered, or not in time. */
export class UnreachableError extends Error {}

const ANSWER_MILLISECONDS = 15_000;

export interface Answer<T> {
  document: T;
  /** The server's clock less this browser's, in milliseconds; 0 when it does not tell. */
  skew: number;
}

/**
 * Ask for a document. A refusal carries the `detail` of its problem document.
 *
 * @throws RefusedError, UnreachableError
 */
export async function ask<T>(path: string, init: RequestInit = {}): Promise<Answer<T>> {
  const [response, text] = await send(path, init);
  // readyz says why it is not ready, with 503.
  if (!response.ok && !(response.status === 503 && path === "/readyz")) {
    throw new RefusedError(response.status, detailOf(text) || `the controller answered ${response.status}`);
  }
  const at = Date.parse(response.headers.get("date") ?? "");
  try {
    return { document: JSON.parse(text) as T, skew: Number.isNaN(at) ? 0 : at - Date.now() };
  } catch {
    throw new UnreachableError("something else than the controller answered");
  }
}

/** End a run. `token` is sent when there is one. */
export async function stopStream(id: string, why: string, token: string): Promise<StreamDocument> {
  const query = why ? `?detail=${encodeURIComponent(why)}` : "";
  const headers: Record<string, string> = token ? { Authorization: `Bearer ${token}` } : {};
  return (await ask<StreamDocument>(`/streams/${id}${query}`, { method: "DELETE", headers })).document;
}

async function send(path: string, init: RequestInit): Promise<[Response, string]> {
  try {
    const signal = AbortSignal.timeout(ANSWER_MILLISECONDS);
    const response = await fetch(path, { ...init, signal, credentials: "same-origin" });
    return [response, await response.text()];
  } catch {
    throw new UnreachableError("the controller does not answer");
  }
}

function detailOf(text: string): string {
  try {
    const problem = JSON.parse(text) as { detail?: unknown; title?: unknown };
    return String(problem.detail || problem.title || "");
  } catch {
    return "";
  }
}
