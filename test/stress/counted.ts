/** The counts that the threads of a run have stored, as an image or an mm shows them. */
import { type AddressSpace, type Image, PAGE_SIZE } from 'mmdump';
import { type Chain, PRIVATE_LINKS } from './stress-run.ts';

/** For each thread, the count in each link of its chain. */
export type Counts = readonly (readonly number[])[];

export function countsInImage(image: Image, chains: readonly Chain[]): Promise<Counts> {
  return readCounts(chains, (address, bytes) => image.read(address, bytes));
}

/** Reads private memory only: a fork shares its shared memory with the threads that go on. */
export function countsInFork(space: AddressSpace, chains: readonly Chain[]): Promise<Counts> {
  const links = chains.map((chain) => ({ ...chain, links: chain.links.slice(0, PRIVATE_LINKS) }));
  return readCounts(links, (address, bytes) => space.readAsync(address, bytes));
}

async function readCounts(
  chains: readonly Chain[],
  read: (address: number, bytes: Uint8Array) => Promise<void>,
): Promise<Counts> {
  const words = new Int32Array(PAGE_SIZE / 4);
  const counts: number[][] = [];
  for (const { links } of chains) {
    const found: number[] = [];
    for (const link of links) {
      await read(link, new Uint8Array(words.buffer));
      const [count] = words;
      if (words.some((word) => word !== count)) throw new Error(`the page at ${link} is torn`);
      found.push(count!);
    }
    counts.push(found);
  }
  return counts;
}

/**
 * Throws unless the counts are those of one instant, and that instant lies between two others. No
 * link may be ahead of the one before it, or behind the first by more than the store under way.
 */
export function assertInstant(
  what: string,
  counts: Counts,
  least: readonly number[],
  most: readonly number[],
): void {
  for (const [thread, links] of counts.entries()) {
    const first = links[0]!;
    const last = links.at(-1)!;
    const isChain = links.every((count, at) => at === 0 || count <= links[at - 1]!);
    const isBetween = last >= least[thread]! && first <= most[thread]!;
    if (isChain && first - last <= 1 && isBetween) continue;
    const bounds = `between ${least[thread]} and ${most[thread]}`;
    throw new Error(`${what}: thread ${thread} counts ${links}, must be one instant ${bounds}`);
  }
}

/** Throws unless every link has at least the count that it had before. */
export function assertNoEarlier(what: string, counts: Counts, before: Counts): void {
  for (const [thread, links] of counts.entries()) {
    const isLater = links.every((count, at) => count >= (before[thread]![at] ?? 0));
    if (!isLater) throw new Error(`${what}: ${links}, but ${before[thread]} was seen before`);
  }
}
