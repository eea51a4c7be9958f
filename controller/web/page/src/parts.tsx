// The small parts that every page uses. None of them asks the server for anything.

import { useComputed, useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useRef } from "preact/hooks";
import type { State } from "./api";
import { now } from "./live";
import { clock, type Said, span, STATE_MEANS, type Tone } from "./words";

const STATE_SHAPES: Record<State, JSX.Element> = {
  PENDING: <circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="2.3 2.3" />,
  STARTING: <path d="M8 2.5A5.5 5.5 0 1 1 2.5 8M8 5v3.5l2.5 1.5" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" />,
  LIVE: <path d="M4.5 2.8v10.4L13 8z" fill="currentColor" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round" />,
  STALLED: <path d="M8 2 14.5 13.5H1.5zM8 6.5v3M8 11.5v.1" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" />,
  ENDED: <rect x="3.5" y="3.5" width="9" height="9" rx="1.5" fill="currentColor" />,
  CLOSED: <path d="m3.5 8.5 3 3 6-7" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" />,
};

export function StateBadge({ state }: { state: State }) {
  return (
    <span class={`badge state-${state.toLowerCase()}`} title={STATE_MEANS[state]}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        {STATE_SHAPES[state]}
      </svg>
      {state}
    </span>
  );
}

const TONE_SHAPES: Record<Tone, JSX.Element> = {
  good: <path d="m3 8.5 3.2 3L13 4.5" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" />,
  busy: <path d="M3 8h.1M8 8h.1M13 8h.1" stroke="currentColor" stroke-width="3" stroke-linecap="round" />,
  warn: <path d="M8 2.5v7M8 13v.1" stroke="currentColor" stroke-width="2.5" stroke-linecap="round" />,
  bad: <path d="m4 4 8 8m0-8-8 8" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" />,
  quiet: <path d="M4 8h8" stroke="currentColor" stroke-width="2" stroke-linecap="round" />,
};

/** A judgement: a sign, words, and behind them the reason. */
export function Verdict({ said }: { said: Said }) {
  return (
    <span class={`verdict tone-${said.tone}`}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        {TONE_SHAPES[said.tone]}
      </svg>
      <span>
        {said.text}
        {said.more && <small>{said.more}</small>}
      </span>
    </span>
  );
}

/** How long ago, counting. */
export function Ago({ at, after = "" }: { at: string | null; after?: string }) {
  const text = useComputed(() => (at === null ? "never" : span(now.value - Date.parse(at)) + after));
  return (
    <time dateTime={at ?? ""} title={at === null ? "" : new Date(at).toLocaleString("en-GB")}>
      {text}
    </time>
  );
}

export function At({ at }: { at: string }) {
  return (
    <time dateTime={at} title={new Date(at).toLocaleString("en-GB")} class="clock">
      {clock(at)}
    </time>
  );
}

interface Column {
  name: string;
  /** Numbers stand at the right. */
  isNumber?: boolean;
  sort?: { direction: "ascending" | "descending" | "none"; toggle: () => void };
}

/** A table that becomes a list of cards on a narrow screen; the roles say so that it stays a table. */
export function Table({ label, columns, children }: { label: string; columns: Column[]; children: ComponentChildren }) {
  return (
    <table role="table" aria-label={label}>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map((column) => (
            <th
              key={column.name}
              role="columnheader"
              scope="col"
              class={column.isNumber ? "number" : undefined}
              aria-sort={column.sort?.direction}
            >
              {column.sort ? (
                <button type="button" class="sort" onClick={column.sort.toggle}>
                  {column.name}
                  <span aria-hidden="true">
                    {{ ascending: "↑", descending: "↓", none: "" }[column.sort.direction]}
                  </span>
                </button>
              ) : (
                column.name
              )}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">{children}</tbody>
    </table>
  );
}

export function Cell({ of, isNumber, class: extra, children }: { of: string; isNumber?: boolean; class?: string; children: ComponentChildren }) {
  const names = [isNumber ? "number" : "", extra ?? ""].filter(Boolean).join(" ");
  return (
    <td role="cell" data-label={of} class={names || undefined}>
      {children}
    </td>
  );
}

export function Card({ title, aside, children, class: extra = "" }: { title: string; aside?: ComponentChildren; children: ComponentChildren; class?: string }) {
  const id = `card-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return (
    <section class={`card ${extra}`} aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  );
}

/** Something to copy, which can also be copied by hand where the browser allows it no other way. */
export function Copy({ label, text }: { label: string; text: string }) {
  const isCopied = useSignal(false);
  const field = useRef<HTMLInputElement>(null);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      field.current?.select();
      document.execCommand("copy");
    }
    isCopied.value = true;
    setTimeout(() => {
      isCopied.value = false;
    }, 1500);
  };
  return (
    <div class="copy">
      <label>
        <span>{label}</span>
        <input ref={field} readOnly value={text} spellcheck={false} onFocus={(event) => event.currentTarget.select()} />
      </label>
      <button type="button" onClick={() => void copy()} aria-label={`Copy: ${label}`}>
        {isCopied.value ? "Copied" : "Copy"}
      </button>
    </div>
  );
}

export function Switch({ label, isOn, onChange }: { label: string; isOn: boolean; onChange: (isOn: boolean) => void }) {
  return (
    <label class="switch">
      <input type="checkbox" role="switch" checked={isOn} onChange={(event) => onChange(event.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}

export function Nothing({ children }: { children: ComponentChildren }) {
  return <p class="nothing">{children}</p>;
}

export function Loading() {
  return <p class="nothing">Reading …</p>;
}
