/**
 * What must still be true, at the end of a job, of the places outside of a machine in which its
 * pages lie: a process behind a backing must have stood still all the time.
 */

/** Rejects if what was read of a source does not show one instant. */
type Check = () => Promise<void>;

const checks = new Map<string, Set<Check>>();

/** Registers a check for the machine with this id, until the function that it returns is called. */
export function addSourceCheck(machine: string, check: Check): () => void {
  const all = checks.get(machine) ?? new Set();
  checks.set(machine, all.add(check));
  return () => {
    all.delete(check);
    if (all.size === 0 && checks.get(machine) === all) checks.delete(machine);
  };
}

/** Rejects with the error of the first check of the machine that fails. */
export async function assertSources(machine: string): Promise<void> {
  for (const check of checks.get(machine) ?? []) await check();
}
