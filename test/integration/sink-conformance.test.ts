/** The sinks of the package, and sinks of a program, against one conformance test. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import {
  fileSink,
  type ImageExtent,
  type ImageLength,
  memorySink,
  type Sink,
  type SinkTarget,
  splitSink,
  streamSink,
} from 'mmdump';
import { type SinkFixture, sinkConformance } from '../support/sinks/conformance.ts';

/** A folder with nothing but the output in it. `parts` are the names of a whole image. */
function inFolder(sinkAt: (path: string) => Sink, isPart: RegExp): SinkFixture {
  const folder = mkdtempSync(join(tmpdir(), 'mmdump-conformance-'));
  const named = (whole: boolean): string[] =>
    readdirSync(folder)
      .filter((name) => isPart.test(name) === whole)
      .sort();
  return {
    sink: sinkAt(join(folder, 'a.cpt')),
    image: async () => {
      const parts = named(true).map((name) => readFileSync(join(folder, name)));
      return parts.length === 0 ? undefined : Buffer.concat(parts);
    },
    remains: async () => named(false),
    close: async () => rmSync(folder, { recursive: true }),
  };
}

sinkConformance('fileSink', async () =>
  inFolder((path) => fileSink(path, { force: true }), /^a\.cpt$/),
);
sinkConformance('fileSink without force', async () => ({
  ...inFolder((path) => fileSink(path), /^a\.cpt$/),
  isReusable: false,
}));
sinkConformance('splitSink', async () =>
  inFolder((path) => splitSink(path, { parts: 3, force: true }), /^a\.cpt\.\d{3}$/),
);

sinkConformance('memorySink', async () => {
  const sink = memorySink({ chunkBytes: 1024 * 1024 });
  const image = async (): Promise<Uint8Array | undefined> => {
    try {
      const { chunks, chunkBytes, bytes } = sink.image;
      return Buffer.concat(chunks.map((each) => each.subarray(0, chunkBytes))).subarray(0, bytes);
    } catch {
      return undefined;
    }
  };
  return { sink, image, remains: async () => [], close: async () => sink.release() };
});

sinkConformance('streamSink', async () => {
  const taken: Uint8Array[] = [];
  const stream = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      taken.push(chunk);
      setImmediate(done);
    },
  });
  return {
    sink: streamSink(stream),
    image: async () => (stream.writableFinished ? Buffer.concat(taken) : undefined),
    remains: async () => [], // the reader sees that the stream was destroyed
    close: async () => void stream.destroy(),
    isReusable: false,
  };
});

/** A program's own file: opened, filled and named by itself. */
class OwnFile implements Sink {
  readonly kind = 'file';
  readonly path: string;
  #file: FileHandle | undefined;

  constructor(path: string) {
    this.path = path;
  }

  async open(): Promise<void> {
    this.#file = await open(`${this.path}.new`, 'wx');
  }

  async reserve(): Promise<SinkTarget> {
    return { kind: 'file', fd: this.#file!.fd, path: this.path, sparse: true };
  }

  async commit({ bytes }: ImageLength): Promise<void> {
    await this.#file!.truncate(bytes);
    await this.#close();
    await rename(`${this.path}.new`, this.path);
  }

  async abort(): Promise<void> {
    await this.#close();
    await rm(`${this.path}.new`, { force: true });
    await rm(this.path, { force: true });
  }

  async #close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }
}

sinkConformance("a program's file", async () => inFolder((path) => new OwnFile(path), /^a\.cpt$/));

/** A program's own shared memory. */
sinkConformance("a program's memory", async () => {
  const chunkBytes = 2 ** 20;
  let buffers: SharedArrayBuffer[] = [];
  let length: number | undefined;
  const sink: Sink = {
    kind: 'memory',
    path: null,
    async open() {
      length = undefined;
    },
    async reserve({ bytes }: ImageExtent) {
      const count = Math.ceil(bytes / chunkBytes);
      buffers = Array.from({ length: count }, () => new SharedArrayBuffer(chunkBytes + 8));
      const chunks = buffers.map((buffer) => ({ buffer, at: 8, bytes: chunkBytes }));
      return { kind: 'memory', chunks, chunkBytes };
    },
    async commit({ bytes }) {
      length = bytes;
    },
    async abort() {
      length = undefined;
    },
  };
  return {
    sink,
    image: async () => {
      const all = Buffer.concat(buffers.map((buffer) => new Uint8Array(buffer, 8)));
      return length === undefined ? undefined : all.subarray(0, length);
    },
    remains: async () => [],
    close: async () => {},
  };
});

/** A program's own function, with several calls under way that end in another order. */
for (const [concurrency, pieceBytes] of [
  [1, undefined],
  [4, undefined],
  [3, 100_000],
  [2, 2 ** 30],
] as const) {
  const name = `calls, ${concurrency} at a time, pieces of ${pieceBytes ?? 'any length'}`;
  sinkConformance(name, async () => {
    let pieces = new Map<number, Uint8Array>();
    let whole: Uint8Array | undefined;
    const sink: Sink = {
      kind: 'stream',
      path: null,
      async open() {
        pieces = new Map();
        whole = undefined;
      },
      async reserve() {
        let calls = 0;
        const write = async (bytes: Uint8Array, offset: number): Promise<void> => {
          const turns = ++calls % 2 === 0 ? 1 : 5;
          for (let turn = 0; turn < turns; turn++) {
            await new Promise((resolve) => setImmediate(resolve));
          }
          pieces.set(offset, bytes);
        };
        return { kind: 'calls', write, concurrency, pieceBytes };
      },
      async commit({ bytes }) {
        whole = new Uint8Array(bytes);
        for (const [offset, piece] of pieces) whole.set(piece, offset);
      },
      async abort() {
        pieces.clear();
        whole = undefined;
      },
    };
    return { sink, image: async () => whole, remains: async () => [], close: async () => {} };
  });
}
