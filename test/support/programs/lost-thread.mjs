/**
 * A worker thread that will be terminated, or that waits for one that was. It attaches to an
 * address space as `thread`, performs one operation and posts the outcome. Where `progress` says
 * so, it stops for ever in the middle, with the locks that an operation holds there.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { attach } from 'mmdump';

const { handle, thread, action, address, progress } = workerData;

/** Tells the host that this thread is inside, and never returns. */
function stop() {
  Atomics.store(progress, 0, 1);
  Atomics.notify(progress, 0);
  Atomics.wait(progress, 1, 0);
}

/** Enters the mm as every operation does, and stops there. */
function stopInside({ mm }, mode) {
  mm.machine.gate.enter(mm.thread);
  mm.lock.lock(mm.thread, mode);
  stop();
}

/** Stops when it receives bytes, while it holds the mmap lock for reading and a page-table lock. */
class StopsAtSet extends Uint8Array {
  set() {
    stop();
  }
}

const ANON = { prot: 'rw', flags: ['private', 'anonymous'], length: 4096 };

const ACTIONS = {
  read: (space) => space.read(address, new Uint8Array(1)),
  mmap: (space) => space.mmap(ANON),
  stopReading: (space) => stopInside(space, 'read'),
  // More bytes than a load without locks takes.
  stopCopying: (space) => space.read(address, new StopsAtSet(128)),
  stopMapping: (space) => stopInside(space, 'write'),
};

function outcomeOf(run) {
  try {
    run();
    return 'done';
  } catch (error) {
    return error.code ?? String(error);
  }
}

const space = attach(handle, { thread });
parentPort.postMessage(outcomeOf(() => ACTIONS[action](space)));
