// The one thing that the page changes: it ends a run, after asking. The token stays in this tab until it is closed.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { RefusedError, type StreamDocument, stopStream } from "./api";
import { many } from "./words";

const TOKEN = "penstock.token";

export function StopDialog({ stream, onStop, onClose }: { stream: StreamDocument; onStop: (stopped: StreamDocument) => void; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const token = useSignal(sessionStorage.getItem(TOKEN) ?? "");
  const why = useSignal("");
  const wantsToken = useSignal(false);
  const fault = useSignal("");
  const isBusy = useSignal(false);
  useEffect(() => dialog.current?.showModal(), []);

  const confirm = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    isBusy.value = true;
    fault.value = "";
    try {
      const stopped = await stopStream(stream.id, why.value.trim(), token.value.trim());
      if (token.value) sessionStorage.setItem(TOKEN, token.value.trim());
      onStop(stopped);
      dialog.current?.close();
    } catch (error) {
      if (error instanceof RefusedError && error.status === 401) {
        fault.value = wantsToken.value || token.value ? "This token is not valid." : "";
        wantsToken.value = true;
        sessionStorage.removeItem(TOKEN);
      } else {
        fault.value = `It was not stopped: ${error instanceof Error ? error.message : "something failed"}.`;
      }
    } finally {
      isBusy.value = false;
    }
  };
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="stop-title">
      <form onSubmit={(event) => void confirm(event)}>
        <h2 id="stop-title">
          Stop <code>{stream.key}</code>?
        </h2>
        <p>
          This ends this run for everybody
          {stream.viewers > 0 ? `, and ${many(stream.viewers, "viewer")} with it` : ""}. Its source may announce a new one.
        </p>
        <label class="field">
          <span>Why (for the history, optional)</span>
          <input value={why.value} maxLength={200} onInput={(event) => (why.value = event.currentTarget.value)} />
        </label>
        {wantsToken.value && (
          <label class="field">
            <span>API token (kept in this tab only)</span>
            <input
              type="password"
              required
              autocomplete="off"
              value={token.value}
              onInput={(event) => (token.value = event.currentTarget.value)}
            />
          </label>
        )}
        {fault.value && (
          <p role="alert" class="fault">
            {fault.value}
          </p>
        )}
        <div class="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <button type="submit" class="danger" disabled={isBusy.value}>
            {isBusy.value ? "Stopping …" : "Stop stream"}
          </button>
        </div>
      </form>
    </dialog>
  );
}
