"use strict";
/* Talks with the server. What goes wrong comes as an Error whose message is a sentence to show. */
const OdamApi = (() => {
  const SILENT = "The server doesn't answer. Is `odam serve` still running?";

  /** The answer to a request; an Error with its `status` where it is one. */
  async function request(address, options = {}) {
    let answer;
    try { answer = await fetch(address, { cache: "no-store", ...options }); } catch (error) {
      throw error.name === "AbortError" ? error : new Error(SILENT);
    }
    if (!answer.ok) throw Object.assign(new Error(await sentence(answer)), { status: answer.status });
    return answer;
  }

  async function sentence(answer) {
    try { return (await answer.json()).error ?? `The server answers ${answer.status}.`; } catch { return `The server answers ${answer.status}.`; }
  }

  const get = async (address, signal) => (await request(address, { signal })).json();
  const send = (address, body, signal) => request(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
  const post = async (address, body, signal) => (await send(address, body, signal)).json();

  /** Opens an image file: { image, name, size }. */
  async function upload(file) {
    const type = file.type.startsWith("image/") ? file.type : "image/unknown";
    const answer = await request(`/api/images?name=${encodeURIComponent(file.name || "pasted image")}`, { method: "POST", headers: { "Content-Type": type }, body: file });
    return answer.json();
  }

  /**
   * Asks the detector; resolves with the result, whose `record` is what is shown. told({ queued } or { progress: [done, total] }) is called on the way.
   * Aborting the signal stops the work on the server.
   */
  async function ask(body, told, signal) {
    const reader = (await send("/api/ask", body, signal)).body.getReader(), decoder = new TextDecoder();
    let waiting = "", parts = [], result = null; // read to its end, so that the connection is kept
    for (;;) {
      let part;
      try { part = await reader.read(); } catch (error) { throw error.name === "AbortError" ? error : new Error(SILENT); }
      if (part.done && result) return result;
      if (part.done) throw new Error("The server stopped before it had answered.");
      parts.push(decoder.decode(part.value, { stream: true }));
      if (!parts.at(-1).includes("\n")) continue; // a long line comes in many parts
      const lines = (waiting + parts.join("")).split("\n");
      [waiting, parts] = [lines.pop(), []];
      for (const line of lines) {
        if (!line.trim()) continue;
        const one = JSON.parse(line);
        if (one.error) throw new Error(one.error);
        if (one.result) result = { ...one.result, record: one.result.record ?? one.result };
        else told(one);
      }
    }
  }

  return { get, post, send, upload, ask };
})();
