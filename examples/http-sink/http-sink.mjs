// A sink that uploads an image in parts over HTTP, several at a time. docs/SINKS.md says what a dump
// expects of a sink. The protocol is that of part-server.mjs; that of an object store is much alike.
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { MmdumpError } from 'mmdump';

/** Answers that a server gives when it is busy: the same request may succeed a moment later. */
const BUSY = new Set([429, 500, 502, 503, 504]);

export class HttpSink {
  kind = 'stream'; // its target takes calls
  path = null;
  /** Parts that were sent again. */
  repeated = 0;
  #server;
  #options;
  #upload; // what the server calls the upload; undefined while there is none
  #over; // fires when this dump is over, for requests under way

  /** `server` is a URL. A part that fails is sent up to `attempts` times. */
  constructor(server, { partBytes = 2 ** 18, concurrency = 3, attempts = 5, pauseMs = 20 } = {}) {
    this.#server = server;
    this.#options = { partBytes, concurrency, attempts, pauseMs };
  }

  /** An upload is begun here: a server that does not answer stops no process in vain. */
  async open() {
    this.#over = new AbortController();
    const response = await this.#request('POST', 'uploads');
    this.#upload = `uploads/${(await response.json()).upload}`;
  }

  /** The parts have equal lengths, and each is numbered by its place. */
  async reserve() {
    const { partBytes, concurrency } = this.#options;
    return {
      kind: 'calls',
      pieceBytes: partBytes,
      concurrency,
      write: (bytes, offset, signal) => this.#part(offset / partBytes, bytes, signal),
    };
  }

  /** The dump resolves after this, so the server has to have said that the image is whole. */
  async commit({ bytes }) {
    await this.#request('POST', `${this.#upload}/complete`, JSON.stringify({ bytes }));
    this.#upload = undefined;
  }

  /** Requests may still be under way. The server forgets the upload, whole or not. */
  async abort() {
    const upload = this.#upload;
    this.#upload = undefined;
    this.#over.abort();
    if (upload === undefined) return;
    this.#over = new AbortController();
    await this.#request('DELETE', upload);
  }

  async #part(number, bytes, signal) {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const path = `${this.#upload}/parts/${number}`;
    await this.#request('PUT', path, bytes, { 'x-sha256': sha256 }, signal);
  }

  /** Sends a request until the server takes it. Rejects with OUTPUT_FAILED, or when it is stopped. */
  async #request(method, path, body, headers = {}, signal = undefined) {
    const { attempts, pauseMs } = this.#options;
    const signals = [this.#over.signal, ...(signal === undefined ? [] : [signal])];
    const stop = AbortSignal.any(signals);
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#try(method, path, body, headers, stop);
      if (answer.response?.ok) return answer.response;
      stop.throwIfAborted();
      if (!answer.mayRepeat || attempt === attempts) {
        const message = `${method} ${this.#server}${path}: ${answer.reason}, attempt ${attempt}`;
        throw new MmdumpError('OUTPUT_FAILED', message);
      }
      this.repeated++;
      await sleep(answer.waitMs ?? pauseMs * 2 ** (attempt - 1), undefined, { signal: stop });
    }
  }

  async #try(method, path, body, headers, signal) {
    try {
      const request = { method, headers, signal, ...(body === undefined ? {} : { body }) };
      const response = await fetch(new URL(path, this.#server), request);
      if (response.ok) return { response };
      const reason = `${response.status} ${await response.text()}`.trim();
      const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
      const waitMs = Number.isNaN(seconds) ? undefined : seconds * 1000;
      return { reason, mayRepeat: BUSY.has(response.status), waitMs };
    } catch (error) {
      return { reason: error.cause?.message ?? error.message, mayRepeat: true };
    }
  }
}
