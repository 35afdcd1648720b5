// One thread that digests, or copies and digests, with the package's own code.
// All modules come from src, because the package does not export what is measured here.
import { parentPort } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { register } from 'tsx/esm/api';

register();
const { lendReservations } = await import('../../src/main/dump/staging-reservations.ts');
const { MachineParts } = await import('../../src/mmu/mm/machine-parts.ts');
const { NO_THREAD } = await import('../../src/shared/sync/thread-layout.ts');
const { BytesDigest } = await import('../../src/shared/digest/bytes-digest.ts');
const { DigestingMover } = await import('../../src/workers/copy/digesting-mover.ts');
const { FrameMover } = await import('../../src/workers/copy/frame-mover.ts');
const { ImageWindow } = await import('../../src/workers/copy/image-window.ts');
const { DigestState, digestKernels } = await import('../../src/shared/digest/xxh3.ts');

const PAGE = 4096;
/** Pages per claim: 1 MiB, as in the segments of a dump. A claim is one payload. */
const CHUNK = 256;

/** Milliseconds on a clock that all threads share. */
function now() {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}

/** Milliseconds of processor time of this process, which are those of a thread that works alone. */
function processorTime() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e3;
}

// --- digests of bytes in the second-level cache ---------------------------------------------

const ALONE = {
  crc32: ({ bytes }) => crc32(bytes),
  'in place': ({ bytes, kernels }) => kernels.digest(bytes.byteOffset, bytes.length),
  'through a memory': ({ bytes, through }) => {
    through.begin();
    through.update(bytes);
    through.finish();
  },
};

const setups = new Map();

function aloneSetup({ id, memory, at, bytes, digests }) {
  let setup = setups.get(id);
  if (setup === undefined) {
    setup = {
      bytes: new Uint8Array(memory.buffer, at, bytes),
      kernels: digestKernels(digests.inside, memory, memory, new DigestState()),
      through: new BytesDigest(digests.inside),
    };
    setups.set(id, setup);
  }
  return setup;
}

// --- copies -----------------------------------------------------------------------------------

const movers = new Map();

function moverSetup({ id, handle, sources, window, copies, digests }) {
  let setup = movers.get(id);
  if (setup === undefined) {
    const machine = new MachineParts(handle, { thread: NO_THREAD });
    const { memory, at, bytes } = window;
    const [reservations] = lendReservations(machine, 1);
    const into = new ImageWindow(memory.buffer, at, bytes, memory);
    setup = {
      into,
      list: new Int32Array(sources),
      plain: new FrameMover(machine, sources, copies, reservations),
      mover: new DigestingMover(machine, copies, digests, reservations),
      kernels: digestKernels(digests.inside, memory, memory, new DigestState()),
    };
    movers.set(id, setup);
  }
  return setup;
}

/** Copies `pages` pages at a time, and calls `each` for them right after their copy. */
function copyThen({ plain, into }, pages, first, count, each) {
  for (let done = 0; done < count; done += pages) {
    const to = (first + done) * PAGE;
    plain.move(first + done, pages, into, to);
    each(to, pages * PAGE, done + pages === count);
  }
}

const COPIES = {
  'copy alone': ({ plain, into }, first, count) => {
    plain.move(first, count, into, first * PAGE);
  },
  'one go': (setup, first, count) => {
    setup.mover.move(setup.list, first, count, setup.into, first * PAGE);
  },
  'digest behind': (setup, first, count) => {
    const { kernels, into } = setup;
    kernels.begin();
    copyThen(setup, 16, first, count, (to, bytes, isLast) => {
      if (isLast) kernels.finish((into.at + to) | 0, bytes);
      else kernels.update((into.at + to) | 0, bytes);
    });
  },
  'crc32 behind': (setup, first, count) => {
    let crc = 0;
    copyThen(setup, 32, first, count, (to, bytes) => {
      crc = crc32(setup.into.bytes.subarray(to, to + bytes), crc);
    });
    return crc;
  },
};

const JOBS = {
  digest(message) {
    const setup = aloneSetup(message);
    const digest = ALONE[message.way];
    for (let done = 0; done < message.times; done++) digest(setup);
  },
  copyAndDigest(message, claims) {
    const setup = moverSetup(message);
    const copy = COPIES[message.way];
    for (;;) {
      const first = Atomics.add(claims, 0, CHUNK);
      if (first >= message.count) return;
      copy(setup, first, Math.min(CHUNK, message.count - first));
    }
  },
};

parentPort.on('message', ({ job, message, claims }) => {
  const clock = message.clock === 'processor' ? processorTime : now;
  const start = clock();
  try {
    JOBS[job](message, claims);
    parentPort.postMessage({ start, end: clock() });
  } catch (error) {
    parentPort.postMessage({ failed: error.stack });
  }
});
