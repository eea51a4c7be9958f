// What the server says, kept fresh: one stream of events that rings, and resources that are read again when it rings
// or when their time has come. No resource is read more than once a second, and nothing while the tab is hidden.

import { batch, effect, type ReadonlySignal, signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ask, RefusedError, type TransitionDocument } from "./api";

const GAP_MILLISECONDS = 1000;
const DEBOUNCE_MILLISECONDS = 120;
const REOPEN_MILLISECONDS = 5000;
const KEEP_MILLISECONDS = 60_000;
const SKEW_MILLISECONDS_MIN = 2000;
/** A read may take this part of the time between two, so that long lists are read less often. */
const LOAD_MAX = 1 / 8;

/** The server's time, once a second. */
export const now = signal(Date.now());
export const isVisible = signal(document.visibilityState === "visible");
/** Whether changes arrive by themselves. */
export const isFollowing = signal(false);
/** Since when the controller does not answer; null while it does. */
export const lostSince = signal<number | null>(null);
/** When the controller answered last. */
export const heardAt = signal<number | null>(null);
/** The newest change of state, for those who cannot see the table. */
export const newest = signal<TransitionDocument | null>(null);

export type Wakes = (moved: TransitionDocument) => boolean;

export interface Live<T> {
  document: ReadonlySignal<T | null>;
  error: ReadonlySignal<RefusedError | null>;
  ring: () => void;
}

let skew = 0;
const resources = new Map<string, Resource>();
const listeners = new Set<(moved: TransitionDocument) => void>();

class Resource {
  readonly document = signal<unknown>(null);
  readonly error = signal<RefusedError | null>(null);
  readonly users = new Map<symbol, { every: number; wakes: Wakes }>();
  #timer = 0;
  #isReading = false;
  #isRung = false;
  #readAt = Number.NEGATIVE_INFINITY;
  #lasted = 0;
  idleSince = 0;

  constructor(readonly path: string) {}

  ring(): void {
    this.#isRung = true;
    this.#plan();
  }

  /** Decide when to read next; call it whenever a reason has changed. */
  #plan(): void {
    clearTimeout(this.#timer);
    if (this.#isReading || this.users.size === 0 || !isVisible.value) return;
    const since = performance.now() - this.#readAt;
    const every = Math.min(...[...this.users.values()].map((user) => user.every));
    const wait = this.#isRung
      ? Math.max(DEBOUNCE_MILLISECONDS, GAP_MILLISECONDS - since, this.#lasted - since)
      : Math.max(0, every - since, this.#lasted / LOAD_MAX - since);
    this.#timer = window.setTimeout(() => void this.#read(), wait);
  }

  plan(): void {
    this.#plan();
  }

  async #read(): Promise<void> {
    this.#isReading = true;
    this.#isRung = false;
    const begun = performance.now();
    this.#readAt = begun;
    try {
      const answer = await ask<unknown>(this.path);
      skew = Math.abs(answer.skew) > SKEW_MILLISECONDS_MIN ? answer.skew : 0;
      batch(() => {
        this.document.value = answer.document;
        this.error.value = null;
        hear();
      });
    } catch (error) {
      if (error instanceof RefusedError && error.status < 500) {
        this.error.value = error;
        hear();
      } else {
        lostSince.value ??= Date.now();
      }
    } finally {
      this.#lasted = performance.now() - begun;
      this.#isReading = false;
      this.#plan();
    }
  }
}

function hear(): void {
  lostSince.value = null;
  heardAt.value = Date.now();
}

/**
 * Keep a document fresh while the component is shown.
 *
 * @param path what to read; null reads nothing
 * @param every milliseconds between two reads that nobody asked for
 * @param wakes which changes of state are a reason to read at once
 */
export function useLive<T>(path: string | null, every: number, wakes: Wakes = never): Live<T> {
  const resource = useMemo(() => (path === null ? null : find(path)), [path]);
  useEffect(() => {
    if (resource === null) return undefined;
    const user = Symbol(resource.path);
    resource.users.set(user, { every, wakes });
    resource.plan();
    return () => {
      resource.users.delete(user);
      resource.idleSince = Date.now();
      resource.plan();
    };
  }, [resource, every]);
  return useMemo(
    () => ({
      document: (resource?.document ?? EMPTY) as ReadonlySignal<T | null>,
      error: resource?.error ?? NO_ERROR,
      ring: () => resource?.ring(),
    }),
    [resource],
  );
}

const EMPTY = signal(null);
const NO_ERROR = signal<RefusedError | null>(null);
const never: Wakes = () => false;
export const always: Wakes = () => true;

function find(path: string): Resource {
  for (const [known, resource] of resources) {
    if (resource.users.size === 0 && Date.now() - resource.idleSince > KEEP_MILLISECONDS && known !== path) {
      resources.delete(known);
    }
  }
  const found = resources.get(path) ?? new Resource(path);
  if (found.users.size === 0) found.idleSince = Date.now();
  resources.set(path, found);
  return found;
}

/** Hear of every change of state as it happens; returns how to stop. */
export function onTransition(listener: (moved: TransitionDocument) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function ringAll(): void {
  for (const resource of resources.values()) resource.ring();
}

function take(moved: TransitionDocument): void {
  newest.value = moved;
  for (const listener of listeners) listener(moved);
  for (const resource of resources.values()) {
    if ([...resource.users.values()].some((user) => user.wakes(moved))) resource.ring();
  }
}

/** Begin to follow. Call it once. */
export function follow(): void {
  document.addEventListener("visibilitychange", () => {
    isVisible.value = document.visibilityState === "visible";
  });
  window.setInterval(() => {
    if (isVisible.value) now.value = Date.now() + skew;
  }, 1000);
  window.addEventListener("online", ringAll);
  // Browsers allow six connections to a host over HTTP/1.1: a hidden tab holds none.
  effect(() => {
    if (!isVisible.value) return undefined;
    now.value = Date.now() + skew;
    ringAll();
    return openEvents();
  });
}

function openEvents(): () => void {
  let source: EventSource;
  let timer = 0;
  const open = (): void => {
    source = new EventSource("/events");
    source.addEventListener("open", () => {
      isFollowing.value = true;
      // What changed while nobody listened.
      ringAll();
    });
    source.addEventListener("transition", (event) => take(JSON.parse(event.data) as TransitionDocument));
    source.addEventListener("reset", ringAll);
    source.addEventListener("error", () => {
      isFollowing.value = false;
      ringAll();
      // The browser comes back by itself, unless it was refused.
      if (source.readyState === EventSource.CLOSED) timer = window.setTimeout(open, REOPEN_MILLISECONDS);
    });
  };
  open();
  return () => {
    clearTimeout(timer);
    source.close();
    isFollowing.value = false;
  };
}

