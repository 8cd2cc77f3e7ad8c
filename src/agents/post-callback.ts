/** The real way to tell a client's server that a run is over. */
import type { Callback } from "./run-callback.ts";

const timeoutMilliseconds = 10_000;

export const postCallback: Callback = async (url, body) => {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(timeoutMilliseconds),
    redirect: "error",
  });
  await response.body?.cancel();
  return response.status;
};
