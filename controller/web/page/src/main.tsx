// The frame: navigation, the state of the connection, banners, keys. The pages are inside.

import { effect, signal } from "@preact/signals";
import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { ReadyDocument, SyncCheck } from "./api";
import { DesiredPage } from "./desired";
import { StreamPage } from "./detail";
import { tellDifferences } from "./drift";
import { LimitBanners, LimitsPage } from "./limits";
import { always, follow, heardAt, isFollowing, lostSince, newest, now, useLive } from "./live";
import { LogPage } from "./log";
import { Nothing } from "./parts";
import { ProxiesPage } from "./proxies";
import { followAddress, go, lastList, route, type Route } from "./route";
import { StreamsPage } from "./streams";
import { clock, span } from "./words";

const CHECK_MILLISECONDS = 5000;
const READY_MILLISECONDS = 15_000;
const NAMES: [Route["page"], string, string][] = [
  ["streams", "#/", "Streams"],
  ["desired", "#/desired", "Compare"],
  ["proxies", "#/proxies", "Proxies"],
  ["limits", "#/limits", "Limits"],
  ["log", "#/log", "Log"],
];

const isHelpOpen = signal(false);

function Page() {
  const { page, id } = route.value;
  switch (page) {
    case "streams":
      return <StreamsPage />;
    case "stream":
      return <StreamPage key={id} id={id} />;
    case "desired":
      return <DesiredPage />;
    case "proxies":
      return <ProxiesPage />;
    case "limits":
      return <LimitsPage />;
    case "log":
      return <LogPage />;
    case "unknown":
      return (
        <Nothing>
          There is no such page. <a href="#/">To the streams</a>
        </Nothing>
      );
  }
}

function Frame() {
  const here = route.value.page === "stream" ? "streams" : route.value.page;
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => {
        event.preventDefault();
        document.getElementById("main")?.focus();
      }}>
        To the content
      </a>
      <header class="bar">
        <a href="#/" class="brand">
          <img src="/icon.svg" alt="" width="24" height="24" />
          Penstock
        </a>
        <nav aria-label="Pages">
          {NAMES.map(([name, address, text]) => (
            <a key={name} href={name === "streams" ? lastList.value : address} aria-current={here === name ? "page" : undefined}>
              {text}
            </a>
          ))}
        </nav>
        <Connection />
        <button type="button" class="help" aria-label="Keys and words" onClick={() => (isHelpOpen.value = true)}>
          ?
        </button>
      </header>
      <Banners />
      <main id="main" tabIndex={-1}>
        <Page />
      </main>
      <Announcer />
      {isHelpOpen.value && <Help />}
    </>
  );
}

function Connection() {
  const [tone, text] = lostSince.value !== null ? ["bad", "No connection"] : isFollowing.value ? ["good", "Live"] : ["warn", "Every 5 s"];
  const meaning = { good: "Changes arrive as they happen", warn: "Changes do not arrive by themselves; they are asked for every 5 seconds", bad: "The controller does not answer" }[tone];
  return (
    <span class={`connection tone-${tone}`} title={meaning}>
      <i aria-hidden="true" />
      {text}
    </span>
  );
}

function Banners() {
  const check = useLive<SyncCheck>("/debug/sync-check", CHECK_MILLISECONDS, always).document.value;
  const ready = useLive<ReadyDocument>("/readyz", READY_MILLISECONDS).document.value;
  const differences = check === null ? "" : tellDifferences(check);
  return (
    <div role="status" class="banners">
      {lostSince.value !== null ? (
        <p class="banner tone-bad">
          <strong>The controller does not answer.</strong>{" "}
          {heardAt.value !== null ? (
            <>
              What you see is from {clock(heardAt.value)}, <span aria-live="off">{span(now.value - heardAt.value)} ago</span>. Streams
              that play go on playing.
            </>
          ) : (
            "Trying again."
          )}
        </p>
      ) : (
        <>
          {differences && route.value.page !== "desired" && (
            <p class="banner tone-bad">
              <strong>What runs is not what should run:</strong> {differences}. <a href="#/desired?different=1">See the differences</a>
            </p>
          )}
          {route.value.page !== "limits" && <LimitBanners />}
          {ready !== null && !ready.database.ok && (
            <p class="banner tone-bad">
              <strong>Database trouble:</strong> {ready.database.detail}
            </p>
          )}
          {ready !== null && !ready.broker.ok && (
            <p class="banner tone-warn">
              <strong>Not connected to the MQTT broker</strong> ({ready.broker.detail}). What runs goes on; new announcements wait.
            </p>
          )}
        </>
      )}
    </div>
  );
}

/** Changes of state, for those who hear the page. */
function Announcer() {
  const moved = newest.value;
  return (
    <div class="unseen" aria-live="polite" id="announcer">
      {moved && `${moved.key} is ${moved.to_state}`}
    </div>
  );
}

function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const keys: [string, string][] = [
    ["/", "Filter the streams"],
    ["j  k", "Next, previous row"],
    ["Enter", "Open the row"],
    ["Esc", "Back to the list; clear the filter"],
    ["?", "This help"],
  ];
  const words: [string, string][] = [
    ["Stream", "One run of a key, from its announcement to its end."],
    ["Proxy", "Pulls a stream once and hands it to all viewers."],
    ["Placement", "What the database wishes: this proxy carries this stream. Its generation rises with every new one."],
    ["Session", "What a proxy really runs for a placement."],
    ["Drift", "Any difference between placements and sessions."],
    ["Breaker", "Holds back every stop for want of a row, while much would be stopped so, or a reading cannot be believed."],
    ["Mode, pause", "What an operator allows the control loop to do: of everything, of a proxy, of a key."],
  ];
  return (
    <dialog ref={dialog} onClose={() => (isHelpOpen.value = false)} aria-labelledby="help-title">
      <form method="dialog">
        <h2 id="help-title">Keys</h2>
        <dl class="keys">
          {keys.map(([key, text]) => (
            <div key={key}>
              <dt>{key.split("  ").map((one) => <kbd key={one}>{one}</kbd>)}</dt>
              <dd>{text}</dd>
            </div>
          ))}
        </dl>
        <h2>Words</h2>
        <dl class="facts">
          {words.map(([word, text]) => (
            <>
              <dt key={word}>{word}</dt>
              <dd>{text}</dd>
            </>
          ))}
        </dl>
        <p class="hint">
          Everything here is also told by the <a href="/openapi.json">REST API</a> and by <code>penstock get streams</code>.{" "}
          <a href="/licences.txt">Licences</a>
        </p>
        <div class="buttons">
          <button type="submit" autofocus>
            Close
          </button>
        </div>
      </form>
    </dialog>
  );
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));
}

function moveRow(step: number): void {
  const rows = [...document.querySelectorAll<HTMLAnchorElement>("main a.row-link")];
  const at = rows.indexOf(document.activeElement as HTMLAnchorElement);
  rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step))]?.focus();
}

function onKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const filter = document.querySelector<HTMLInputElement>("#filter");
  if (event.key === "Escape") {
    if (event.target === filter && filter) {
      if (filter.value) return; // The browser clears a search field by itself.
      filter.blur();
    } else if (route.value.page !== "streams") {
      go(lastList.value);
    }
    return;
  }
  if (event.key === "Enter" && event.target === filter) return moveRow(1);
  if (isTyping(event.target)) return;
  switch (event.key) {
    case "/":
      if (filter === null) go(lastList.value);
      requestAnimationFrame(() => document.querySelector<HTMLInputElement>("#filter")?.focus());
      break;
    case "j":
      moveRow(1);
      break;
    case "k":
      moveRow(-1);
      break;
    case "?":
      isHelpOpen.value = true;
      break;
    default:
      return;
  }
  event.preventDefault();
}

followAddress();
follow();
document.addEventListener("keydown", onKey);
// A row is a link, wherever it is clicked; selecting text in it is no click.
document.addEventListener("click", (event) => {
  const target = event.target as HTMLElement;
  if (target.closest("a, button, input, label") || getSelection()?.toString()) return;
  target.closest("tr")?.querySelector<HTMLAnchorElement>("a.row-link")?.click();
});
effect(() => {
  const name = NAMES.find(([page]) => page === route.value.page)?.[2] ?? "Stream";
  document.title = `${lostSince.value === null ? "" : "⚠ "}${name} – Penstock`;
});
const root = document.getElementById("page");
if (root !== null) render(<Frame />, root);
