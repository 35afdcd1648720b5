/**
 * The parent of a dump: the image that holds the pages which have not changed since it was made.
 * Changes are found by the XXH3-64 of every page. Those of the parent are known if this dumper has
 * written it as an image with a parent, and not too long ago (PageDigestCache). Otherwise they are
 * read: from its records if its blocks are single pages, else from its pages. All this comes before
 * the machine is frozen.
 */
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { DIGEST } from '../../shared/digest/digest-kind.ts';
import {
  describePageDigests,
  type PageDigestBuffers,
  pageDigestBytes,
} from '../../shared/dump/page-digests.ts';
import type { ParentTask } from '../../shared/dump/tasks/pass-task.ts';
import { WorkUnits } from '../../shared/dump/work-unit.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { ParentFields } from '../../shared/formats/cpt/encode-mm.ts';
import { CHAIN_MAX } from '../../shared/formats/cpt/records.ts';
import { digestPages } from '../image/chain/page-digests.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import type { Sink } from '../sinks/sink.ts';
import type { Dump } from './engine.ts';
import type { PassTables } from './pass-tables.ts';

/** The parent image, which stays open until the dump is over. */
export interface DumpParent {
  readonly id: string;
  readonly contents: ImageContents;
}

/** The parent, with everything that the pass has to know of it. */
export interface PreparedParent {
  readonly fields: ParentFields;
  readonly pages: PageDigestBuffers;
}

/**
 * Prepares the parent of a dump, if it has one. Throws OPTION_INVALID if the chain would be too
 * long or if the sink would replace an image of the chain, the errors of `digestPages`, and
 * AbortError.
 */
export async function prepareParent(dump: Dump): Promise<PreparedParent | undefined> {
  const { parent, to, signal } = dump.options;
  if (parent === undefined) return undefined;
  const { id, contents } = parent;
  assertNamed(parent);
  assertFits(contents);
  assertElsewhere(to, contents);
  const { pool, digests } = dump.engine;
  // Images without checksums have the same id if only bytes of pages differ.
  const hasName = contents.head.digest !== 'none';
  const known = hasName ? digests.get(id) : undefined;
  const pages = known ?? (await digestPages(pool, contents, 'content', signal));
  if (known === undefined && hasName) digests.keep(id, pages);
  return { fields: { id, headCrc: contents.head.recordCrc }, pages };
}

/** Throws OPTION_INVALID for an image without an id, which no other image can name. */
function assertNamed({ id, contents }: DumpParent): void {
  if (id !== '') return;
  const advice = 'make a native image of it first (mmdump convert --format cpt)';
  const message = `parent: ${contents.source.name} is an OpenVZ file, which has no id: ${advice}`;
  throw new MmdumpError('OPTION_INVALID', message);
}

function assertFits({ source, chain }: ImageContents): void {
  const images = chain.ancestors.length + 2;
  if (images <= CHAIN_MAX) return;
  const message =
    `parent: ${source.name} is the last of ${images - 1} images, and a chain has at most ` +
    `${CHAIN_MAX}: make one image of it first (mmdump convert --flatten)`;
  throw new MmdumpError('OPTION_INVALID', message);
}

/** Throws OPTION_INVALID if the dump would replace an image that it needs. */
function assertElsewhere({ path }: Sink, { source, chain }: ImageContents): void {
  if (path === null) return;
  const paths = [source.path, ...chain.ancestors.map(({ from }) => from)];
  const same = paths.find((used) => typeof used === 'string' && real(used) === real(path));
  if (same === undefined) return;
  const message = `to: '${path}' is an image of the chain of the parent, which the new image needs`;
  throw new MmdumpError('OPTION_INVALID', message, { path });
}

function real(path: string): string {
  const image = path.endsWith('.000') ? path.slice(0, -4) : path;
  try {
    return realpathSync(image);
  } catch {
    return resolve(image); // there is no such file, or it has parts
  }
}

/** What the workers need to know of the parent. */
export function parentTask(dump: Dump, { pages }: PreparedParent, tables: PassTables): ParentTask {
  const kept = digestBuffer(dump, tables);
  return { pages, dirty: dump.changes.ranges, kept };
}

/** Memory for the digests of all pages, if they are kept. */
function digestBuffer(
  { engine, options }: Dump,
  tables: PassTables,
): SharedArrayBuffer | undefined {
  const bytes = pageDigestBytes(tables.pages);
  const isNameless = options.digest === DIGEST.NONE; // its id does not tell it apart
  if (options.dryRun || isNameless || bytes === 0) return undefined;
  if (!engine.digests.takes(bytes)) return undefined;
  return engine.buffers.fresh('page digests', bytes);
}

/** The table of the digests in `kept`, which has a place for every page of the units. */
export function keptDigests(tables: PassTables, kept: SharedArrayBuffer): PageDigestBuffers {
  const units = new WorkUnits(tables.units);
  const { firstUnits } = tables;
  const ranges = firstUnits.slice(1).map((end, mm) => {
    const ofMm = [];
    for (let unit = firstUnits[mm]!; unit < end; unit++) {
      const pages = units.pages(unit);
      if (pages > 0) ofMm.push({ start: units.start(unit), pages, first: units.first(unit) });
    }
    return ofMm;
  });
  return describePageDigests(ranges, kept);
}
