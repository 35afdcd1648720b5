/**
 * Collects the garbage of this thread at once, not when V8 thinks that it is worth it. Shared
 * memory is freed only when every thread has collected its last object for it, and an idle thread
 * collects nothing.
 *
 * The inspector does it. It needs no flag of the process (`--expose-gc` would apply to all
 * threads), and it collects without a stack, so objects are not kept alive by what a caller has in
 * registers.
 */
import type { Session } from 'node:inspector';

/** Best effort: Node without an inspector, or with permissions that forbid it, collects later. */
export async function collectGarbage(): Promise<void> {
  let session: Session | undefined;
  try {
    const inspector = await import('node:inspector');
    session = new inspector.Session();
    session.connect();
    await collectThrough(session);
  } catch {
    // The memory is freed when V8 collects by itself.
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
