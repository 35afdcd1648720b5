/**
 * Images that earlier versions have written stay readable. test/golden holds one of each kind, with
 * a JSON file that says what the slow reader found in it when it was made.
 *
 * Invariants checked: the slow reader still finds the same · so does the image's own reader, page
 * by page · verify finds nothing wrong, and finds a byte that was changed · a restore gives every
 * known page back, and an address space that equals the dumped one.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDumper, type Dumper, openImage } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Description,
  describePage,
  describeSlowly,
  GOLDEN_IMAGES,
  goldenFiles,
  goldenFolder,
} from '../support/images/golden.ts';
import { createGolden, goldenMachine } from '../support/images/golden-spaces.ts';
import { inMemory } from '../support/images/images.ts';
import { readSlowly, wholePageSlowly } from '../support/images/slow-image.ts';
import { codeOf } from '../support/machine/machine.ts';

const PAGE = 4096;
/** VM_IO, a flag of a mapping. */
const IO = 0x4000;
/** The bit in the kind of a file that says that it is deleted. */
const DELETED = 1;

let dumper: Dumper;
let folder: string;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
  folder = mkdtempSync(join(tmpdir(), 'mmdump-golden-'));
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

describe.for(GOLDEN_IMAGES)('the golden image "%s" of version %i', ([name, version]) => {
  const files = goldenFiles(name, version);
  const bytes = Buffer.concat([...files.values()]);
  const text = readFileSync(new URL(`${name}.json`, goldenFolder(version)), 'utf8');
  const expected = JSON.parse(text) as Description;

  /** Writes the image's files where a reader finds them, and returns the path to open. */
  function unpack(): string {
    for (const [file, content] of files) writeFileSync(join(folder, file), content);
    return join(folder, `${name}.cpt`);
  }

  it('is what the slow reader found in it', () => {
    expect(expected.version).toBe(version);
    expect(describeSlowly(bytes)).toEqual(expected);
  });

  it('opens as what the description says', async () => {
    const image = await openImage(unpack());
    try {
      expect({ id: image.id, bytes: image.bytes }).toEqual({
        id: expected.id,
        bytes: bytes.length,
      });
      expect(image.mms()).toHaveLength(expected.mms.length);
      for (const [mm, wanted] of expected.mms.entries()) {
        expect(hexOf(await image.auxv({ mm }))).toBe(wanted.auxv ?? '');
        expect(hexOf(await image.notes({ mm }))).toBe(wanted.notes ?? '');
        expect(hexOf(await image.ldt({ mm }))).toBe(wanted.ldt ?? '');
        const vmas = image.vmas({ mm });
        const found = vmas.map((vma) => [vma.start, vma.end, vma.flags, vma.pgoff, vma.file?.path]);
        const described = wanted.vmas.map((vma) => {
          return [...[vma.start, vma.end, vma.flags, vma.pgoff].map(Number), vma.file?.path];
        });
        expect(found).toEqual(described);
        for (const [index, vma] of vmas.entries()) {
          const pages = {
            copy: 0,
            zero: 0,
            clone: 0,
            guard: 0,
            parent: 0,
            ...wanted.vmas[index]!.pages,
          };
          expect({ absent: 0, ...vma.pages }).toEqual({ ...pages, absent: 0 });
        }
      }
    } finally {
      await image.close();
    }
  });

  it('reads page by page as the description says', async () => {
    const image = await openImage(unpack());
    const page = new Uint8Array(PAGE);
    try {
      for (const [mm, { vmas }] of expected.mms.entries()) {
        for (const { start, end, content } of vmas) {
          let wanted = '';
          for (let at = Number(start); at < Number(end); at += PAGE) {
            wanted = content[`0x${at.toString(16)}`] ?? wanted;
            const { kind } = image.page(at, { mm });
            const isKnown = await image.read(at, page, { mm }).then(
              () => true,
              () => false,
            );
            expect(describePage(kind, isKnown ? page : null)).toBe(wanted);
          }
        }
      }
    } finally {
      await image.close();
    }
  });

  it('verifies, in files and in memory, and not with a byte changed', async () => {
    const ok = { ok: true, id: expected.id, problems: [] };
    expect(await dumper.verify(unpack())).toMatchObject(ok);
    expect(await dumper.verify(inMemory(bytes))).toMatchObject(ok);
    const { stretches } = readSlowly(bytes);
    const payload = stretches.find(({ what, type }) => what === 'payload' && type === 'PAGES')!;
    const record = stretches.find(({ type }) => type === 'PAGES')!;
    // Without checksums, verify only checks that pages have their length.
    const places = [record.from + 17, ...(name === 'no-checksums' ? [] : [payload.from + 1234])];
    for (const at of places) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 4;
      const { problems } = await dumper.verify(inMemory(damaged));
      expect(problems).toMatchObject([{ code: 'IMAGE_CHECKSUM' }]);
    }
  });

  it('is restored: every page that it knows, as both readers have it', async () => {
    const image = await openImage(unpack());
    const { spaces } = createGolden(name);
    const { mms } = await dumper.restore(image, goldenMachine()).finally(() => image.close());
    const slow = readSlowly(bytes);
    for (const [ordinal, mm] of slow.mms.entries()) {
      const restored = mms[ordinal]!;
      const page = new Uint8Array(PAGE);
      for (const vma of mm.vmas) {
        for (let at = vma.start; at < vma.end; at += PAGE) {
          const content = wholePageSlowly(bytes, slow, mm, at);
          if (vma.pages.get(at)?.kind === 'guard') {
            expect(codeOf(() => restored.read(at, page))).toBe('SIGSEGV');
          } else if (content !== null && (vma.flags & IO) === 0) {
            restored.read(at, page);
            expect(Buffer.compare(page, content!), `page 0x${at.toString(16)}`).toBe(0);
          } else if ((vma.file?.kind ?? 0) & DELETED) {
            // Such a page cannot be brought back, so it is left out of the comparison below.
            expect(codeOf(() => restored.read(at, page))).toBe('SIGBUS');
            for (const space of [spaces[ordinal]!, restored]) space.munmap(at, PAGE);
          }
        }
      }
      const comparison = await dumper.compare(spaces[ordinal]!, restored);
      expect(comparison).toMatchObject({ equal: true, difference: null });
    }
  });
});

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
