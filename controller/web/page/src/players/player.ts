// What the page needs of a player, whichever it is.

export type Fault = "codec" | "ended" | "network";

export interface Playing {
  stop: () => void;
}

export type Play = (video: HTMLVideoElement, url: string, onFault: (fault: Fault, detail: string) => void) => Playing;
