// What is in a transport stream, before a player is tried: browsers play few of the codecs that it can carry, and players
// fail at the others without words. Reads PAT and PMT (ISO/IEC 13818-1, 2.4.4) at the beginning, then hangs up.

const PACKET = 188;
const SYNC = 0x47;
const BYTES_MAX = 2_000_000;
const PROBE_MILLISECONDS = 15_000;

export interface Codec {
  kind: "video" | "sound";
  name: string;
  /** What to ask the browser; null: no browser plays it. */
  type: string | null;
}

// Stream types, ISO/IEC 13818-1 table 2-34, and those that ATSC and Blu-ray have added.
const CODECS: Record<number, Codec> = {
  0x01: { kind: "video", name: "MPEG-1 video", type: null },
  0x02: { kind: "video", name: "MPEG-2 video", type: null },
  0x03: { kind: "sound", name: "MPEG audio", type: "audio/mpeg" },
  0x04: { kind: "sound", name: "MPEG audio", type: "audio/mpeg" },
  0x0f: { kind: "sound", name: "AAC", type: 'audio/mp4; codecs="mp4a.40.2"' },
  0x10: { kind: "video", name: "MPEG-4 part 2", type: null },
  0x11: { kind: "sound", name: "AAC (LATM)", type: null },
  0x1b: { kind: "video", name: "H.264", type: 'video/mp4; codecs="avc1.640028"' },
  0x24: { kind: "video", name: "HEVC (H.265)", type: 'video/mp4; codecs="hvc1.1.6.L120.90"' },
  0x81: { kind: "sound", name: "AC-3", type: 'audio/mp4; codecs="ac-3"' },
  0x82: { kind: "sound", name: "DTS", type: null },
  0x87: { kind: "sound", name: "E-AC-3", type: 'audio/mp4; codecs="ec-3"' },
  0xea: { kind: "video", name: "VC-1", type: null },
};
const PRIVATE = 0x06;
// Descriptor tags that tell what private data is: EN 300 468 table 12, and the registration of Opus.
const PRIVATE_CODECS: Record<number, Codec> = {
  0x6a: { kind: "sound", name: "AC-3", type: 'audio/mp4; codecs="ac-3"' },
  0x7a: { kind: "sound", name: "E-AC-3", type: 'audio/mp4; codecs="ec-3"' },
  0x7b: { kind: "sound", name: "DTS", type: null },
};

export function canPlay(codec: Codec): boolean {
  return codec.type !== null && "MediaSource" in window && MediaSource.isTypeSupported(codec.type);
}

/** The server's refusal, when it refused. */
export class ProbeError extends Error {
  constructor(
    readonly status: number,
    detail: string,
  ) {
    super(detail);
  }
}

/**
 * Find the codecs of a stream; an empty list when it does not tell.
 *
 * @throws ProbeError the proxy refused, or could not be reached (status 0)
 */
export async function probe(url: string, isHls: boolean, signal: AbortSignal): Promise<Codec[]> {
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  signal.addEventListener("abort", abort);
  const timer = setTimeout(abort, PROBE_MILLISECONDS);
  try {
    const media = isHls ? await firstSegment(url, stop.signal) : url;
    return media === null ? [] : await readTables(await get(media, stop.signal));
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
    stop.abort();
  }
}

async function get(url: string, signal: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { signal, cache: "no-store" });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ProbeError(0, "the proxy does not answer");
  }
  if (!response.ok) throw new ProbeError(response.status, (await response.text()).slice(0, 300));
  return response;
}

async function firstSegment(url: string, signal: AbortSignal): Promise<string | null> {
  const text = await (await get(url, signal)).text();
  const line = text.split("\n").find((one) => one.trim() !== "" && !one.startsWith("#"));
  return line === undefined ? null : new URL(line.trim(), url).href;
}

async function readTables(response: Response): Promise<Codec[]> {
  const reader = response.body?.getReader();
  let head = new Uint8Array();
  while (reader !== undefined && head.length < BYTES_MAX) {
    const { done, value } = await reader.read();
    if (done) break;
    const more = new Uint8Array(head.length + value.length);
    more.set(head);
    more.set(value, head.length);
    head = more;
    const found = findCodecs(head);
    if (found !== null) return found;
  }
  return [];
}

/** The codecs of the first programme; null while its PMT was not seen. */
export function findCodecs(bytes: Uint8Array): Codec[] | null {
  let pmtPid: number | null = null;
  for (let at = bytes.indexOf(SYNC); at >= 0 && at + PACKET <= bytes.length; at += PACKET) {
    if (bytes[at] !== SYNC) return null;
    const packet = bytes.subarray(at, at + PACKET);
    const pid = ((byte(packet, 1) & 0x1f) << 8) | byte(packet, 2);
    const section = sectionOf(packet);
    if (section === null) continue;
    if (pid === 0 && section[0] === 0x00) pmtPid ??= programme(section);
    if (pid === pmtPid && section[0] === 0x02) return streams(section);
  }
  return null;
}

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}

/** A section that begins in this packet, to its end or the packet's. */
function sectionOf(packet: Uint8Array): Uint8Array | null {
  const begins = (byte(packet, 1) & 0x40) !== 0;
  const control = byte(packet, 3) & 0x30;
  if (!begins || control === 0x20 || control === 0) return null;
  const payload = control === 0x30 ? 5 + byte(packet, 4) : 4;
  const start = payload + 1 + byte(packet, payload);
  return start + 12 < PACKET ? packet.subarray(start) : null;
}

function sectionEnd(section: Uint8Array): number {
  const length = ((byte(section, 1) & 0x0f) << 8) | byte(section, 2);
  return Math.min(section.length, 3 + length - 4);
}

function programme(section: Uint8Array): number | null {
  for (let at = 8; at + 4 <= sectionEnd(section); at += 4) {
    const isNetwork = byte(section, at) === 0 && byte(section, at + 1) === 0;
    if (!isNetwork) return ((byte(section, at + 2) & 0x1f) << 8) | byte(section, at + 3);
  }
  return null;
}

function streams(section: Uint8Array): Codec[] {
  const found: Codec[] = [];
  const end = sectionEnd(section);
  let at = 12 + (((byte(section, 10) & 0x0f) << 8) | byte(section, 11));
  while (at + 5 <= end) {
    const length = ((byte(section, at + 3) & 0x0f) << 8) | byte(section, at + 4);
    const type = byte(section, at);
    const codec = type === PRIVATE ? privateCodec(section.subarray(at + 5, at + 5 + length)) : CODECS[type];
    if (codec !== undefined) found.push(codec);
    at += 5 + length;
  }
  return found;
}

function privateCodec(descriptors: Uint8Array): Codec | undefined {
  for (let at = 0; at + 2 <= descriptors.length; at += 2 + byte(descriptors, at + 1)) {
    const known = PRIVATE_CODECS[byte(descriptors, at)];
    if (known !== undefined) return known;
    const name = String.fromCharCode(...descriptors.subarray(at + 2, at + 6));
    if (byte(descriptors, at) === 0x05 && name === "Opus") {
      return { kind: "sound", name: "Opus", type: 'audio/mp4; codecs="opus"' };
    }
    if (byte(descriptors, at) === 0x05 && name === "HEVC") return CODECS[0x24];
  }
  return undefined;
}
