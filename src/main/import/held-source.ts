/** Sources of pages that an import holds on to, since pages of a machine still lie in them. */
import { onMachineEnd } from '../../mmu/machine/lifetime.ts';
import { addSourceCheck } from '../job/page-sources.ts';

/**
 * Lets `check` run at the end of the jobs of the machine with this id (`page-sources.ts`), and calls
 * `letGo` once: when the returned function is called, or when the machine is closed.
 */
export function holdUntilReleased(
  id: string,
  check: () => Promise<void>,
  letGo: () => Promise<void>,
): () => Promise<void> {
  const endCheck = addSourceCheck(id, check);
  let over: Promise<void> | undefined;
  const release = async (): Promise<void> => {
    endCheck();
    deaf();
    await letGo();
  };
  const once = (): Promise<void> => {
    over ??= release();
    return over;
  };
  const deaf = onMachineEnd(async (machine) => {
    if (machine === id) await once().catch(() => {}); // nobody can read the machine any more
  });
  return once;
}
