// Watching a stream here. It asks what is in the stream first, so that a codec that no browser plays is named.

import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Output, StreamDocument } from "./api";
import { Card, Copy, Nothing } from "./parts";
import type { Fault, Play, Playing } from "./players/player";
import { type Codec, canPlay, probe, ProbeError } from "./probe";
import { Thumb } from "./thumb";

const THUMB_MILLISECONDS = 10_000;

type Phase = "off" | "opening" | "playing" | "failed";

// Files of their own, beside the page's: see build.mjs.
const PLAYERS: Record<Output, () => Promise<{ play: Play }>> = {
  // @ts-expect-error the file exists once built
  hls: () => import("./player-hls.js") as Promise<{ play: Play }>,
  // @ts-expect-error the file exists once built
  ts: () => import("./player-ts.js") as Promise<{ play: Play }>,
};
const NAMES: Record<Output, string> = { hls: "HLS", ts: "MPEG-TS" };

export function PlayerCard({ stream }: { stream: StreamDocument }) {
  const isActive = stream.state !== "ENDED" && stream.state !== "CLOSED";
  const outputs = (["hls", "ts"] as const).filter((output) => stream.links[output] !== null);
  return (
    <Card title="Watch" class="watch">
      {isActive && outputs.length > 0 ? (
        <Player key={stream.id} outputs={outputs} stream={stream} />
      ) : (
        <Nothing>{isActive ? "No proxy was seen to carry it yet." : "It has ended. There is nothing to watch any more."}</Nothing>
      )}
      {isActive && <Links stream={stream} />}
    </Card>
  );
}

function Links({ stream }: { stream: StreamDocument }) {
  return (
    <div class="links">
      <p class="hint">For VLC, ffplay, Kodi, Jellyfin: open one of these as a network stream.</p>
      <Copy label="Always the right proxy" text={stream.links.watch} />
      {stream.links.hls && <Copy label="HLS" text={stream.links.hls} />}
      {stream.links.ts && <Copy label="MPEG-TS" text={stream.links.ts} />}
    </div>
  );
}

function Player({ outputs, stream }: { outputs: Output[]; stream: StreamDocument }) {
  const output = useSignal<Output>(outputs[0] ?? "hls");
  const phase = useSignal<Phase>("off");
  const words = useSignal("");
  const codecs = useSignal<Codec[]>([]);
  const video = useRef<HTMLVideoElement>(null);
  const playing = useRef<{ playing?: Playing; opening: AbortController } | null>(null);

  const stop = (): void => {
    playing.current?.opening.abort();
    playing.current?.playing?.stop();
    playing.current = null;
  };
  const turnOff = (): void => {
    stop();
    phase.value = "off";
    words.value = "";
  };
  const fail = (text: string): void => {
    stop();
    phase.value = "failed";
    words.value = text;
  };
  const start = async (): Promise<void> => {
    stop();
    const mine = { opening: new AbortController() } as NonNullable<typeof playing.current>;
    playing.current = mine;
    const kind = output.value;
    const url = stream.links[kind];
    if (url === null) return;
    phase.value = "opening";
    words.value = "Opening the stream …";
    codecs.value = [];
    try {
      const found = await probe(url, kind === "hls", mine.opening.signal);
      if (playing.current !== mine) return;
      codecs.value = found;
      const pictures = found.filter((codec) => codec.kind === "video");
      if (found.length > 0 && !found.some(canPlay)) return fail(explainCodecs(found));
      if (pictures.length > 0 && !pictures.some(canPlay)) return fail(explainCodecs(pictures));
      const { play } = await PLAYERS[kind]();
      if (playing.current !== mine || video.current === null) return;
      phase.value = "playing";
      words.value = missingSound(found);
      mine.playing = play(video.current, url, (fault, detail) => fail(explainFault(fault, detail)));
      // Refused where sound may not start by itself: the controls are there.
      await video.current.play().catch(() => undefined);
    } catch (error) {
      if (playing.current !== mine) return;
      fail(error instanceof ProbeError ? explainRefusal(error) : "The stream did not open in time.");
    }
  };
  useEffect(() => stop, []);

  const shown = useComputed(() => codecs.value.map((codec) => codec.name).join(", "));
  return (
    <div class="player">
      <div class={`screen ${phase.value}`}>
        <video ref={video} controls playsInline aria-label="The stream" hidden={phase.value !== "playing"} />
        {phase.value === "off" && <Thumb stream={stream} every={THUMB_MILLISECONDS} />}
        {phase.value === "off" && (
          <button type="button" class="play" onClick={() => void start()}>
            <svg viewBox="0 0 24 24" aria-hidden="true">
              <path d="M8 5v14l11-7z" fill="currentColor" />
            </svg>
            Play here
          </button>
        )}
        {phase.value === "opening" && <p>{words.value}</p>}
        {phase.value === "failed" && (
          <div role="alert">
            <p>{words.value}</p>
            <button type="button" onClick={() => void start()}>
              Try again
            </button>
          </div>
        )}
      </div>
      <div class="player-bar">
        <fieldset class="choice">
          <legend>Play by</legend>
          {outputs.map((one) => (
            <label key={one}>
              <input
                type="radio"
                name="output"
                checked={output.value === one}
                onChange={() => {
                  output.value = one;
                  if (phase.value !== "off") void start();
                }}
              />
              <span>{NAMES[one]}</span>
            </label>
          ))}
        </fieldset>
        <span class="hint">
          {shown}
          {phase.value === "playing" && words.value && <> · {words.value}</>}
        </span>
        {phase.value !== "off" && (
          <button type="button" onClick={turnOff}>
            Stop watching
          </button>
        )}
      </div>
    </div>
  );
}

function explainCodecs(codecs: Codec[]): string {
  const names = [...new Set(codecs.map((codec) => codec.name))].join(" and ");
  return `This browser cannot play ${names}. The stream itself is fine: use one of the addresses below in VLC.`;
}

function missingSound(found: Codec[]): string {
  const sounds = found.filter((codec) => codec.kind === "sound");
  return sounds.length > 0 && !sounds.some(canPlay) ? `No sound here: this browser cannot play ${sounds[0]?.name}` : "";
}

function explainFault(fault: Fault, detail: string): string {
  switch (fault) {
    case "ended":
      return "The stream has ended.";
    case "codec":
      return `This browser cannot play what the stream carries (${detail}). Use one of the addresses below in VLC.`;
    case "network":
      return `The connection to the proxy broke (${detail}).`;
  }
}

function explainRefusal(refused: ProbeError): string {
  switch (refused.status) {
    case 0:
      return "The proxy cannot be reached from this browser. Its public address may be wrong, or a firewall is between.";
    case 401:
    case 403:
      return "The proxy wants a signed address to play this stream.";
    case 410:
      return "The stream has ended.";
    case 502:
    case 504:
      return `The upstream did not deliver (HTTP ${refused.status}). The reasons are further down.`;
    default:
      return `The proxy refused to play it (HTTP ${refused.status}).`;
  }
}
