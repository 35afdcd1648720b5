// A server that takes uploads in parts. It keeps them in memory, checks the digest of each part, and
// puts an image together when the upload is complete. It is busy now and then, as servers are.
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

export class PartServer {
  /** Images that are whole. */
  images = new Map();
  /** Uploads that are not complete: maps from the number of a part to its bytes. */
  uploads = new Map();
  /** How many requests with a part were answered with 503. */
  refused = 0;
  #refusedOnce = new Set();
  #busyEvery;
  #server = createServer((request, response) => {
    this.#answer(request).then(
      ([status, body = '', headers = {}]) => response.writeHead(status, headers).end(body),
      (error) => response.writeHead(500).end(String(error)),
    );
  });

  /**
   * Every `busyEvery`th part is refused when it comes for the first time, so the client has to send it
   * again. 0: none. 1: all of them, whenever they come.
   */
  constructor(busyEvery = 0) {
    this.#busyEvery = busyEvery;
  }

  async listen() {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${this.#server.address().port}/`;
  }

  async close() {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  async #answer(request) {
    const body = await bodyOf(request);
    const [, what, id, action, number] = request.url.split('/');
    if (what !== 'uploads') return [404];
    if (request.method === 'POST' && id === undefined) return this.#begin();
    if (request.method === 'DELETE') return this.#remove(id);
    const parts = this.uploads.get(id);
    if (parts === undefined) return [404, 'there is no such upload'];
    if (action === 'complete') return this.#complete(id, parts, JSON.parse(body));
    if (this.#isBusy(Number(number), `${id}/${number}`)) {
      this.refused++;
      return [503, 'busy', { 'retry-after': '0' }];
    }
    const sha256 = createHash('sha256').update(body).digest('hex');
    if (sha256 !== request.headers['x-sha256']) return [400, 'the part is damaged'];
    parts.set(Number(number), body);
    return [204];
  }

  #isBusy(number, name) {
    const every = this.#busyEvery;
    if (every === 0 || (number + 1) % every !== 0) return false;
    if (every > 1 && this.#refusedOnce.has(name)) return false;
    this.#refusedOnce.add(name);
    return true;
  }

  #begin() {
    const upload = randomUUID();
    this.uploads.set(upload, new Map());
    return [201, JSON.stringify({ upload }), { 'content-type': 'application/json' }];
  }

  #complete(id, parts, { bytes }) {
    const inOrder = Array.from({ length: parts.size }, (_, number) => parts.get(number));
    if (inOrder.includes(undefined)) return [409, 'a part is missing'];
    const image = Buffer.concat(inOrder);
    if (image.length !== bytes) return [409, `there are ${image.length} bytes`];
    this.images.set(id, image);
    this.uploads.delete(id);
    return [204];
  }

  /** Also an upload that is complete: the client may stop while it waits for the answer. */
  #remove(id) {
    this.uploads.delete(id);
    this.images.delete(id);
    return [204];
  }
}

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}
