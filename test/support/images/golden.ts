/** The golden images stored in test/golden, and what the slow reader finds in each of them. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { GOLDEN_NAMES, type GoldenName } from './golden-spaces.ts';
import {
  idSlowly,
  readSlowly,
  type SlowImage,
  type SlowMm,
  wholePageSlowly,
} from './slow-image.ts';

const PAGE = 4096;

const GOLDEN_VERSIONS = [1, 2] as const;
export type GoldenVersion = (typeof GOLDEN_VERSIONS)[number];

export function goldenFolder(version: GoldenVersion): URL {
  return new URL(`../../golden/version-${version}/`, import.meta.url);
}

/** Every golden image. Version 1 has no separate crc32 image, because crc32 was its default. */
export const GOLDEN_IMAGES: readonly (readonly [GoldenName, GoldenVersion])[] =
  GOLDEN_VERSIONS.flatMap((version) =>
    GOLDEN_NAMES.filter((name) => version > 1 || name !== 'crc32').map(
      (name) => [name, version] as const,
    ),
  );

/** Returns the unpacked files of a golden image, by the names that a reader expects. */
export function goldenFiles(name: GoldenName, version: GoldenVersion): ReadonlyMap<string, Buffer> {
  const folder = goldenFolder(version);
  const pattern = new RegExp(`^(${name}\\.cpt(\\.\\d{3})?)\\.gz$`);
  const files = new Map<string, Buffer>();
  for (const file of readdirSync(folder).sort()) {
    const plain = pattern.exec(file)?.[1];
    if (plain !== undefined) files.set(plain, gunzipSync(readFileSync(new URL(file, folder))));
  }
  return files;
}

/**
 * The description stored beside a golden image; every reader must find the same. Numbers are in
 * hex.
 */
export interface Description {
  readonly version: number;
  readonly bytes: number;
  readonly sha256: string;
  readonly id: string;
  readonly mms: readonly DescribedMm[];
}

interface DescribedMm {
  readonly auxv: string | null;
  readonly notes: string | null;
  readonly ldt: string | null;
  readonly vmas: readonly DescribedVma[];
}

interface DescribedVma {
  readonly start: string;
  readonly end: string;
  readonly flags: string;
  readonly pgoff: string;
  readonly type: number;
  readonly anonvmaid: number;
  readonly file: { id: number; path: string; size: number; kind: number } | null;
  /** Number of pages by kind. */
  readonly pages: { readonly [kind: string]: number };
  /**
   * Pages whose kind or content differs from the page before: kind, first 16 bytes, and the start
   * of the sha256 of all 4096. It says `unknown` where the image does not know the content.
   */
  readonly content: { readonly [address: string]: string };
}

export function describeSlowly(bytes: Buffer): Description {
  const image = readSlowly(bytes);
  return {
    version: bytes.readUInt16LE(6),
    bytes: bytes.length,
    sha256: sha256(bytes),
    id: idSlowly(bytes, image),
    mms: image.mms.map((mm) => describeMm(bytes, image, mm)),
  };
}

function describeMm(bytes: Buffer, image: SlowImage, mm: SlowMm): DescribedMm {
  return {
    auxv: mm.auxv?.toString('hex') ?? null,
    notes: mm.notes?.toString('hex') ?? null,
    ldt: mm.ldt?.toString('hex') ?? null,
    vmas: mm.vmas.map((vma): DescribedVma => {
      const pages: Record<string, number> = {};
      const content: Record<string, string> = {};
      let last = '';
      for (let at = vma.start; at < vma.end; at += PAGE) {
        const kind = vma.pages.get(at)?.kind ?? 'absent';
        pages[kind] = (pages[kind] ?? 0) + 1;
        const page = describePage(kind, wholePageSlowly(bytes, image, mm, at));
        if (page !== last) content[hex(at)] = page;
        last = page;
      }
      const { file } = vma;
      return {
        start: hex(vma.start),
        end: hex(vma.end),
        flags: hex(vma.flags),
        pgoff: hex(vma.pgoff),
        type: vma.type,
        anonvmaid: vma.anonvmaid,
        file: file && { id: file.id, path: `${file.path}`, size: file.size, kind: file.kind },
        pages,
        content,
      };
    }),
  };
}

/** Describes one page. */
export function describePage(kind: string, content: Uint8Array | null): string {
  if (content === null) return `${kind} unknown`;
  const start = Buffer.from(content.subarray(0, 16)).toString('hex');
  return `${kind} ${start} ${sha256(content).slice(0, 16)}`;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
