/**
 * Taking translations away (flush_tlb_range). Called wherever leaves lose rights or their dirty bits,
 * change their frame, or come to lie in a table that a snapshot shares, before they do:
 * `docs/decisions/translations.md`.
 */
import { RANK } from '../../shared/sync/held-locks.ts';
import { Patience } from '../../shared/sync/patience.ts';
import { LOCKED_UP } from '../../shared/sync/trust.ts';
import type { Mm } from '../mm/mm.ts';

/** Milliseconds until the machine is poisoned: as for a spin lock, which the caller holds. */
const LOCKUP_MS = 20_000;
/** The most milliseconds that one look counts. */
const LOOK_MS = 10;

/**
 * Takes away all translations of the mm, and returns once no thread uses one. The page-table lock
 * of the leaves is held, so that none is made of them meanwhile. Under the mmap lock for writing
 * nothing is left to do: it took them away when it was taken (`mm/hold.ts`, `mm/hold-all.ts`). If a user does not
 * come out, the machine is poisoned after as long as for a page-table lock.
 */
export function revokeTranslations(mm: Mm): void {
  const { threads, thread, machine, slot, mayBlock } = mm;
  if (threads.holds(thread, RANK.MMAP_WRITE)) return;
  if (machine.translations.revoke(slot, mayBlock)) return;
  const patience = new Patience(LOCKUP_MS, LOOK_MS);
  while (!machine.translations.revoke(slot, false)) {
    threads.assertTrusted();
    threads.lookAround();
    if (patience.isOver()) threads.poison(LOCKED_UP, thread);
  }
}

/**
 * The same for a fault that changes one 4 KiB leaf. A translator of this thread keeps what it knows
 * of other pages.
 */
export function revokePage(mm: Mm): void {
  const { translations } = mm.machine;
  const before = translations.moves;
  revokeTranslations(mm);
  mm.revokedPages += translations.moves - before;
}
