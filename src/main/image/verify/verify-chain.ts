/**
 * Verifies what an image needs of its ancestors: first each ancestor by itself, its records and its
 * payloads, then the pages that the image has in its parent, against the digests in its own records.
 */
import { isSameDigest, mismatchText } from '../../../shared/digest/digest-kind.ts';
import { PageListDigest } from '../../../shared/digest/page-list-digest.ts';
import { PageDigestTable } from '../../../shared/dump/page-digests.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import { PAGES_RECORD } from '../../../shared/formats/cpt/records.ts';
import { PROBLEM_CODES, type ProblemCode, pagesText } from '../../../shared/formats/problem.ts';
import { addressOf } from '../../../shared/page.ts';
import type { WorkerPool } from '../../crew/pool.ts';
import { Yielder } from '../../job/stop.ts';
import { loadDigestKernels } from '../../package/kernels.ts';
import { findAncestors } from '../chain/ancestors.ts';
import { ImageChain } from '../chain/chain.ts';
import { digestPages } from '../chain/page-digests.ts';
import { BLOCK, type Block } from '../index/block-index.ts';
import type { IndexBudget } from '../index/index-budget.ts';
import { type CheckedRecords, ImageContents } from '../read/image-contents.ts';
import type { ByteSource } from '../source/byte-source.ts';
import { verifyPayloads } from './payloads.ts';
import { ProblemList } from './problem-list.ts';
import type { VerifyOptions } from './verify.ts';

/** Adds the problems of the ancestors to `problems`. Throws INPUT_FAILED and AbortError. */
export async function verifyChain(
  pool: WorkerPool,
  source: ByteSource,
  records: CheckedRecords,
  options: VerifyOptions,
  problems: ProblemList,
  budget: IndexBudget,
): Promise<void> {
  const { signal, parents = [] } = options;
  const ancestors = await listed(problems, () =>
    findAncestors(source.name, source.path, records.head, parents, options),
  );
  if (ancestors === undefined || ancestors.length === 0) return;
  const chain = new ImageChain(ancestors, source.bytes, budget);
  const before = problems.count;
  try {
    for (let ancestor = 0; ancestor < ancestors.length; ancestor++) {
      await verifyAncestor(pool, chain, ancestor, options, problems, budget);
    }
    if (problems.count > before) return; // what lies in damaged images cannot be found
    const contents = new ImageContents(source, records, chain, 0);
    await listed(problems, () => verifyInParent(pool, contents, signal, problems));
  } finally {
    await chain.close();
  }
}

/** Verifies the records and the payloads of one ancestor. */
async function verifyAncestor(
  pool: WorkerPool,
  chain: ImageChain,
  ancestor: number,
  { signal }: VerifyOptions,
  problems: ProblemList,
  budget: IndexBudget,
): Promise<void> {
  const opened = await listed(problems, () => chain.open(ancestor, signal));
  if (opened === undefined) return;
  const { source, records } = opened;
  const own = new ProblemList();
  await verifyPayloads(source, records, pool, { signal }, own, budget);
  for (const problem of own.listed) {
    problems.add({ ...problem, message: `${source.name}: ${problem.message}` });
  }
  problems.unlisted += own.unlisted;
}

/** Compares the pages that lie in the parent with the digests in the records of the image. */
async function verifyInParent(
  pool: WorkerPool,
  contents: ImageContents,
  signal: AbortSignal | undefined,
  problems: ProblemList,
): Promise<void> {
  const table = new PageDigestTable(await digestPages(pool, contents, 'parent', signal));
  const list = new PageListDigest(() => loadDigestKernels().inside);
  const yielder = new Yielder(signal);
  for (const mm of contents.mms) {
    for (const vma of mm.vmas) {
      if (yielder.isDue()) await yielder.yield();
      for (let index = vma.firstBlock; index < vma.lastBlock; index++) {
        const block = mm.blocks.at(index);
        if (block.kind !== BLOCK.PARENT) continue;
        digestBlock(list, table, mm.ordinal, block);
        if (isSameDigest(block, list)) continue;
        const address = addressOf(block.start);
        const where = pagesText(mm.ordinal, vma, address, addressOf(block.pages));
        const offset = block.source - PAGES_RECORD.SIZE;
        const message = `${where}, in the parent: ${mismatchText(block, list)}`;
        problems.add({ code: 'IMAGE_CHECKSUM', offset, address, message });
      }
    }
  }
}

function digestBlock(list: PageListDigest, table: PageDigestTable, mm: number, block: Block): void {
  const from = table.numberOf(mm, block.start) * 2;
  list.begin();
  for (let at = from; at < from + block.pages * 2; at += 2) {
    list.add(table.words[at]!, table.words[at + 1]!);
  }
  list.finish();
}

/** Runs a step of the verification. A problem of an image is listed; the step has no result then. */
async function listed<T>(problems: ProblemList, step: () => Promise<T>): Promise<T | undefined> {
  try {
    return await step();
  } catch (error) {
    if (!(error instanceof MmdumpError) || !isProblem(error.code)) throw error;
    const { code, fields, message } = error;
    problems.add({ code, offset: fields.offset ?? 0, address: fields.address ?? null, message });
    return undefined;
  }
}

function isProblem(code: string): code is ProblemCode {
  return (PROBLEM_CODES as readonly string[]).includes(code);
}
