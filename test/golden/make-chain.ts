/**
 * The script that made the golden chain: three images of a family, each the parent of the next. As
 * those of `make.ts`, the images stay as they are, and only a missing chain is written.
 *
 *   npm run build && npx tsx test/golden/make-chain.ts
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { type AddressSpace, createDumper, type Image, memorySink, openImage, PAGE_SIZE } from 'mmdump';
import { createGolden } from '../support/images/golden-spaces.ts';
import { bytesOf, inMemory } from '../support/images/images.ts';

const folder = new URL('chain/', import.meta.url);
const description = new URL('chain.json', folder);

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Writes into every third page that can be written, and gives the family another mapping. */
function change(spaces: readonly AddressSpace[], round: number): void {
  const [first] = spaces;
  first!.mmap({ prot: 'rw', flags: ['private', 'anonymous'], length: (2 + round) * PAGE_SIZE });
  for (const space of spaces) {
    for (const { start, end, flags } of space.vmas()) {
      if ((flags & 2) === 0) continue;
      for (let at = start + round * PAGE_SIZE; at < Math.min(end, start + 64 * PAGE_SIZE); at += 3 * PAGE_SIZE) {
        try {
          space.write(at + 9, Uint8Array.of(round, 1, 2));
        } catch (error) {
          if ((error as { code?: string }).code !== 'SIGSEGV') throw error; // a guard page
        }
      }
    }
  }
}

if (!existsSync(description)) {
  mkdirSync(folder, { recursive: true });
  const dumper = await createDumper({ workers: 2 });
  const { spaces, options } = createGolden('family');
  const images: Buffer[] = [];
  const ids: string[] = [];
  let parent: Image | undefined;
  for (let round = 0; round < 3; round++) {
    if (round > 0) change(spaces, round);
    const to = memorySink();
    ids.push((await dumper.dump(spaces, { ...options, to, parent })).image.id);
    images.push(bytesOf(to.image));
    parent = await openImage(inMemory(images.at(-1)!), { parents: images.map(inMemory) });
  }
  const whole = memorySink();
  const { image } = await dumper.dump(spaces, { ...options, to: whole });
  images.forEach((bytes, index) => {
    writeFileSync(new URL(`${index}.cpt.gz`, folder), gzipSync(bytes, { level: 9 }));
  });
  const flat = { id: image.id, sha256: sha256(bytesOf(whole.image)) };
  const all = { ids, sha256: images.map(sha256), flat };
  writeFileSync(description, `${JSON.stringify(all, null, 1)}\n`);
  await dumper.close();
}
