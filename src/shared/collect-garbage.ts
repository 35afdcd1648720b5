/**
 * Collecting the garbage of this thread now, not when V8 finds it worth while: shared memory goes only
 * when every thread has collected its last object for it, and an idle thread collects nothing.
 *
 * The inspector's way, since it needs no flag of the process (`--expose-gc` is one of all threads) and
 * collects with no stack, so that nothing is kept by what a caller happens to have in its registers.
 */
import type { Session } from 'node:inspector';

/** Best effort: a Node without an inspector, or with permissions that forbid it, collects later. */
export async function collectGarbage(): Promise<void> {
  let session: Session | undefined;
  try {
    const inspector = await import('node:inspector');
    session = new inspector.Session();
    session.connect();
    await collectThrough(session);
  } catch {
    // Its memory is given back when V8 collects by itself.
  } finally {
    session?.disconnect();
  }
}

function collectThrough(session: Session): Promise<void> {
  return new Promise((resolve, reject) => {
    session.post('HeapProfiler.collectGarbage', (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}
