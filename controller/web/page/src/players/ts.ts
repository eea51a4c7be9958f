// MPEG-TS over one long HTTP answer, by mpegts.js.

import mpegts from "mpegts.js";
import type { Play } from "./player";

mpegts.LoggingControl.enableAll = false;

export const play: Play = (video, url, onFault) => {
  const player = mpegts.createPlayer(
    { type: "mpegts", isLive: true, url, cors: true },
    { enableWorker: false, lazyLoad: false, liveBufferLatencyChasing: true, autoCleanupSourceBuffer: true },
  );
  player.on(mpegts.Events.ERROR, (type: string, detail: string, info: { code?: number; msg?: string } | undefined) => {
    if (info?.code === 410) onFault("ended", "");
    else onFault(type === mpegts.ErrorTypes.MEDIA_ERROR ? "codec" : "network", info?.msg || detail);
  });
  player.on(mpegts.Events.LOADING_COMPLETE, () => onFault("ended", ""));
  player.attachMediaElement(video);
  player.load();
  return { stop: () => player.destroy() };
};
