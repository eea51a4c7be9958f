// The newest picture of a stream, as its proxy makes it. Where there is none, nothing is shown and little is asked.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { StreamDocument } from "./api";
import { isVisible } from "./live";

/** After an answer without a picture, so many turns are left out. */
const PATIENCE = 6;
const NOT_IMPLEMENTED = 501;
/** Proxies that make no pictures: they lack ffmpeg. */
const unable = new Set<string>();

export function Thumb({ stream, every }: { stream: StreamDocument; every: number }) {
  const isFlowing = stream.sessions.some((session) => session.is_fresh && session.state === "flowing");
  return isFlowing && stream.links.thumb !== null ? <Picture key={stream.links.thumb} url={stream.links.thumb} of={stream.key} every={every} /> : null;
}

function Picture({ url, of, every }: { url: string; of: string; every: number }) {
  const place = useRef<HTMLSpanElement>(null);
  const shown = useSignal("");
  useEffect(() => {
    const leaving = new AbortController();
    let isInSight = false;
    let skipped = PATIENCE;
    const show = (picture: string): void => {
      URL.revokeObjectURL(shown.peek());
      shown.value = picture;
    };
    const look = async (): Promise<void> => {
      if (!isInSight || !isVisible.peek() || unable.has(new URL(url).origin) || skipped++ < PATIENCE) return;
      const answer = await fetch(url, { signal: leaving.signal }).catch(() => null);
      if (leaving.signal.aborted) return;
      if (answer?.status === NOT_IMPLEMENTED) unable.add(new URL(url).origin);
      skipped = answer?.ok ? PATIENCE : 0;
      const picture = answer?.ok ? await answer.blob().catch(() => null) : null;
      if (!leaving.signal.aborted) show(picture === null ? "" : URL.createObjectURL(picture));
    };
    const sight = new IntersectionObserver((entries) => {
      const wasInSight = isInSight;
      isInSight = entries.some((entry) => entry.isIntersecting);
      if (isInSight && !wasInSight && shown.peek() === "") void look();
    });
    if (place.current !== null) sight.observe(place.current);
    const timer = setInterval(() => void look(), every);
    return () => {
      leaving.abort();
      clearInterval(timer);
      sight.disconnect();
      show("");
    };
  }, [url, every]);
  return (
    <span class="thumb" ref={place}>
      {shown.value !== "" && <img src={shown.value} alt={`Newest picture of ${of}`} />}
    </span>
  );
}
