// The proxies, as the controller saw them last.

import type { ListOf, ProxyDocument } from "./api";
import { LimitNote } from "./limits";
import { always, useLive } from "./live";
import { Ago, Cell, Loading, Nothing, Table, Verdict } from "./parts";
import { count, FRESHNESS, rate, type Said } from "./words";

const POLL_MILLISECONDS = 5000;

export function ProxiesPage() {
  const list = useLive<ListOf<ProxyDocument>>("/proxies?limit=1000", POLL_MILLISECONDS, always);
  const proxies = list.document.value?.items;
  if (proxies === undefined) return <Loading />;
  return (
    <>
      <h1>Proxies</h1>
      <p class="hint">A proxy pulls each stream once and hands it to all of its viewers. The controller asks them; they never call back.</p>
      {proxies.length === 0 ? (
        <Nothing>No proxy is configured.</Nothing>
      ) : (
        <Table
          label="Proxies"
          columns={[{ name: "Proxy" }, { name: "Reach" }, { name: "Sessions", isNumber: true }, { name: "Viewers", isNumber: true }, { name: "Comes in at", isNumber: true }, { name: "Address for players" }, { name: "Process" }]}
        >
          {proxies.map((proxy) => (
            <tr role="row" key={proxy.id}>
              <Cell of="Proxy" class="main">
                <strong>{proxy.id}</strong>
                <LimitNote scope="proxy" subject={proxy.id} />
                {proxy.is_draining && <small>draining: takes no new stream</small>}
                {!proxy.is_synced && proxy.freshness === "fresh" && <small>just started: waits for the controller's list</small>}
              </Cell>
              <Cell of="Reach">
                <Verdict said={reach(proxy)} />
                <small>
                  listed <Ago at={proxy.observed_at} after={proxy.observed_at === null ? "" : " ago"} />
                </small>
              </Cell>
              <Cell of="Sessions" isNumber>
                {count(proxy.sessions)}
              </Cell>
              <Cell of="Viewers" isNumber>
                {count(proxy.viewers)}
              </Cell>
              <Cell of="Comes in at" isNumber>
                {proxy.bitrate_bps > 0 ? rate(proxy.bitrate_bps) : "–"}
              </Cell>
              <Cell of="Address for players">
                <code>{proxy.public_url || "none"}</code>
              </Cell>
              <Cell of="Process">
                <code title={`Identity of this start of the process: ${proxy.boot_id}`}>{proxy.boot_id.slice(0, 8) || "–"}</code>
                <small>{count(proxy.sequence)} changes since its start</small>
              </Cell>
            </tr>
          ))}
        </Table>
      )}
    </>
  );
}

function reach(proxy: ProxyDocument): Said {
  const tone = ({ fresh: "good", stale: "warn", lost: "bad", never: "bad" } as const)[proxy.freshness];
  return { tone, text: FRESHNESS[proxy.freshness], more: proxy.error };
}
