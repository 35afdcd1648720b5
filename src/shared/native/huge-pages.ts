/**
 * Asks the kernel for transparent huge pages (madvise(2), MADV_HUGEPAGE). A page fault then brings
 * 2 MiB at once, so that memory is touched for the first time in a fraction of the time.
 */
import { readFileSync } from 'node:fs';
import { MiB } from '../page.ts';
import { addressOfView, hasNativeCalls, nativeFunction } from './library.ts';

const MADVISE = 'int madvise(uintptr_t address, size_t length, int advice)';
const MADV_HUGEPAGE = 14;
/** madvise takes whole pages, and 64 KiB is the largest page size of the processors in question. */
const ALIGNMENT = 0x10000;
/** For less memory than this, loading koffi takes longer than huge pages save. */
const WORTH_IT = 64 * MiB;
const SETTING = '/sys/kernel/mm/transparent_hugepage/enabled';

let isOnRequest: boolean | undefined;

/**
 * Asks for huge pages in the whole pages of a view, if the view is large, and if the system gives
 * huge pages to those who ask and to nobody else. Returns whether the kernel took the advice. The
 * memory does not change, and advice that is not taken does no harm.
 *
 * Precondition: the memory is used from one end to the other. Each 2 MiB of which one byte is
 * touched are in memory as a whole.
 */
export function adviseHugeIfLarge(view: Uint8Array): boolean {
  if (view.byteLength < WORTH_IT || !givesHugePagesOnRequest()) return false;
  return adviseHuge(view);
}

/** Asks for huge pages in the whole pages of a view. Returns whether the kernel took the advice. */
export function adviseHuge(view: Uint8Array): boolean {
  if (view.byteLength === 0 || !hasNativeCalls()) return false;
  const address = addressOfView(view);
  const first = Math.ceil(address / ALIGNMENT) * ALIGNMENT;
  const end = Math.floor((address + view.byteLength) / ALIGNMENT) * ALIGNMENT;
  return end > first && nativeFunction(MADVISE)(first, end - first, MADV_HUGEPAGE) === 0;
}

/**
 * Whether the setting of the system is `madvise`. With `always` every process has huge pages
 * already, with `never` nobody gets any. It is read once per thread.
 */
function givesHugePagesOnRequest(): boolean {
  isOnRequest ??= readSetting().includes('[madvise]');
  return isOnRequest;
}

function readSetting(): string {
  try {
    return readFileSync(SETTING, 'latin1');
  } catch {
    return ''; // a kernel without huge pages
  }
}
