// Where the page stands, in the address: `#/streams/ID`, `#/?q=cam&state=LIVE`. Filters survive a reload and can be sent.

import { signal } from "@preact/signals";

export interface Route {
  page: "streams" | "stream" | "desired" | "proxies" | "limits" | "log" | "unknown";
  id: string;
  params: URLSearchParams;
}

const PAGES: Record<string, Route["page"]> = { "": "streams", desired: "desired", proxies: "proxies", limits: "limits", log: "log" };

export const route = signal(parse(location.hash));
/** The list as it was left, to come back to. */
export const lastList = signal("#/");

function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const params = new URLSearchParams(query);
  const [head = "", id = ""] = path.split("/");
  if (head === "streams" && id !== "") return { page: "stream", id: decode(id), params };
  return { page: (id === "" && PAGES[head]) || "unknown", id: "", params };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Follow the address. Call it once. */
export function followAddress(): void {
  window.addEventListener("hashchange", () => {
    route.value = parse(location.hash);
    if (route.value.page === "streams") lastList.value = location.hash;
  });
  if (route.value.page === "streams" && location.hash) lastList.value = location.hash;
}

/** Change parameters of this page without a step in the browser's history; empty removes one. */
export function setParams(changes: Record<string, string>): void {
  const params = new URLSearchParams(route.value.params);
  for (const [name, value] of Object.entries(changes)) {
    if (value) params.set(name, value);
    else params.delete(name);
  }
  const query = params.toString();
  const path = (location.hash || "#/").split("?", 1)[0];
  history.replaceState(null, "", query ? `${path}?${query}` : path);
  route.value = parse(location.hash);
  if (route.value.page === "streams") lastList.value = location.hash;
}

export function go(hash: string): void {
  location.hash = hash;
}

export function streamLink(id: string): string {
  return `#/streams/${encodeURIComponent(id)}`;
}
