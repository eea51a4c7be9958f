// HLS by hls.js, in its light build: without subtitles, alternate audio and DRM, which the proxy's playlists do not have.

import Hls, { type ErrorData } from "hls.js/light";
import type { Play } from "./player";

const CODEC_FAULTS: string[] = [
  "manifestIncompatibleCodecsError",
  "bufferIncompatibleCodecsError",
  "bufferAddCodecError",
  "fragParsingError",
];

// When the upstream changes from MPEG-TS to fragmented MP4 or back, sound and pictures need other buffers than before.
// hls.js leaves that to its user; begun anew it goes on. What fails again this soon after that will not play.
const RECOVERY_PAUSE_MS = 10_000;

export const play: Play = (video, url, onFault) => {
  // The worker would be made of a blob; what a page shows is decoded well enough without.
  const hls = new Hls({ enableWorker: false, backBufferLength: 30 });
  let recoveredAt = Number.NEGATIVE_INFINITY;
  hls.on(Hls.Events.ERROR, (_event: string, data: ErrorData) => {
    const status = data.response?.code ?? 0;
    if (status === 410) {
      onFault("ended", "");
    } else if (!data.fatal) {
      return;
    } else if (CODEC_FAULTS.includes(data.details)) {
      onFault("codec", data.details);
    } else if (data.type === Hls.ErrorTypes.MEDIA_ERROR && performance.now() - recoveredAt > RECOVERY_PAUSE_MS) {
      recoveredAt = performance.now();
      hls.recoverMediaError();
      video.play().catch(() => undefined); // a video that is given another source is paused
    } else {
      onFault(data.type === Hls.ErrorTypes.MEDIA_ERROR ? "codec" : "network", status ? `HTTP ${status}` : data.details);
    }
  });
  hls.loadSource(url);
  hls.attachMedia(video);
  return { stop: () => hls.destroy() };
};
