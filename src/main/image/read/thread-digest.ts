/** The PayloadDigest with which this thread checks the pages of images. */
import { PayloadDigest } from '../../../shared/digest/payload-digest.ts';
import { loadDigestKernels } from '../../package/kernels.ts';

let digest: PayloadDigest | undefined;

/**
 * One object serves all images that this thread reads, because no caller uses it across an `await`.
 */
export function threadDigest(): PayloadDigest {
  digest ??= new PayloadDigest(() => loadDigestKernels().inside);
  return digest;
}
