/** What the kernel says about the memory of this process for which huge pages were asked. */
import { readFileSync } from 'node:fs';

/** The setting of transparent huge pages; undefined where the kernel has none. */
export function hugePageSetting(): string | undefined {
  try {
    return readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'latin1');
  } catch {
    return undefined;
  }
}

/** Whether those who ask get huge pages, and nobody else. */
export const GIVES_ON_REQUEST: boolean = hugePageSetting()?.includes('[madvise]') ?? false;

interface Mapping {
  readonly start: number; // address
  readonly end: number;
  readonly isAdvised: boolean;
  readonly residentBytes: number;
}

function mappings(): Mapping[] {
  const text = readFileSync('/proc/self/smaps', 'latin1');
  return text.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m).map((part) => {
    const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(part) ?? [];
    return {
      start: Number(`0x${start}`),
      end: Number(`0x${end}`),
      isAdvised: /^VmFlags:.* hg\b/m.test(part),
      residentBytes: Number(/^Rss:\s+(\d+) kB$/m.exec(part)?.[1]) * 1024,
    };
  });
}

/** Whether huge pages were asked for at this address of this process. */
export function isAdvised(address: number): boolean {
  return mappings().some((each) => each.isAdvised && each.start <= address && address < each.end);
}

/** Bytes in memory of the mappings that overlap [start, end). */
export function residentBytesIn(start: number, end: number): number {
  const touched = mappings().filter((each) => each.start < end && start < each.end);
  return touched.reduce((sum, { residentBytes }) => sum + residentBytes, 0);
}
