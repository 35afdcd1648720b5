// A server that runs programs, and dumps one of them when it is asked to:
//
//   GET  /children         lists them
//   POST /children/1/dump  dumps the child with this number, and answers with a summary and a link
//   GET  /images/NAME      is what the link leads to
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { createDumper, createMachine, fileSink, MmdumpError } from 'mmdump';

const CHILD = fileURLToPath(new URL('child.mjs', import.meta.url));

export class DumpServer {
  #children = [];
  #images = new Map(); // paths by name
  #folder;
  #dumper;
  #server = createServer((request, response) => {
    this.#answer(request, response).catch((error) => {
      if (response.headersSent) response.destroy(error);
      else sendJson(response, ...failureOf(error));
    });
  });

  /** Starts the children, each with a word that it keeps, and the server. Returns its URL. */
  async start(words) {
    this.#folder = await mkdtemp(join(tmpdir(), 'mmdump-dump-server-'));
    this.#dumper = await createDumper(); // its threads serve all dumps, one after the other
    for (const word of words) {
      const child = spawn(process.execPath, [CHILD, word], { stdio: ['pipe', 'pipe', 'inherit'] });
      this.#children.push(child); // at once: whatever fails from now on, `close` ends it
      await once(child.stdout, 'data');
    }
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Ends everything that was started. A dump that is under way is waited for. */
  async close() {
    if (this.#server.listening) {
      this.#server.close();
      await once(this.#server, 'close');
    }
    await this.#dumper?.close();
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.stdin.end(); // it ends by itself then
      await once(child, 'exit');
    }
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true });
  }

  async #answer({ method, url }, response) {
    const [, what, name, action] = url.split('/');
    if (method === 'GET' && what === 'children' && name === undefined) {
      const children = this.#children.map(({ pid }, number) => ({ number, pid }));
      sendJson(response, 200, children);
    } else if (method === 'POST' && what === 'children' && action === 'dump') {
      sendJson(response, 201, await this.#dump(Number(name)));
    } else if (method === 'GET' && what === 'images' && this.#images.has(name)) {
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      await pipeline(createReadStream(this.#images.get(name)), response);
    } else {
      sendJson(response, 404, { error: `there is no ${method} ${url}` });
    }
  }

  /** The child stands still until its pages are read, and goes on while the disk writes. */
  async #dump(number) {
    const child = this.#children[number];
    if (child === undefined) throw new MmdumpError('PROCESS_NOT_FOUND', `no child ${number}`);
    const machineFor = (memory) => createMachine({ memory });
    const { pid } = child;
    const imported = await this.#dumper.importProcess(machineFor, pid, { load: 'on-demand' });
    try {
      const name = `${pid}-${this.#images.size}.cpt`;
      const path = join(this.#folder, name);
      const { image, mms, ms } = await this.#dumper.dump(imported.mms, {
        to: fileSink(path, { sync: false }),
        onCaptured: () => imported.release(),
      });
      this.#images.set(name, path);
      const { pages, vmas } = mms[0];
      const summary = { pid, id: image.id, bytes: image.bytes, mappings: vmas.length, pages };
      return { link: `/images/${name}`, ...summary, ms: Math.round(ms.total) };
    } finally {
      await imported.release();
    }
  }
}

/** The status and the object of an answer to a request that has failed. */
function failureOf(error) {
  const code = error instanceof MmdumpError ? error.code : 'INTERNAL';
  return [code === 'PROCESS_NOT_FOUND' ? 404 : 500, { error: error.message, code }];
}

function sendJson(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(value, null, 2)}\n`);
}
