// Segments pictures with LiteRT. In build.gradle.kts:
//
//     implementation("com.google.ai.edge.litert:litert:2.1.0")  // or newer
//
// Put model_float_io.tflite into src/main/assets: floats at both ends, 8 bits in between. For the GPU take
// model_float16.tflite and Accelerator.GPU.
package com.example.segmentation

import android.content.Context
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

class LiteRtSegmenter(
    context: Context,
    file: String = "model_float_io.tflite",
    accelerator: Accelerator = Accelerator.CPU,
) : AutoCloseable {
    private val model = CompiledModel.create(context.assets, file, CompiledModel.Options(accelerator))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()
    private val pixels = IntArray(HEIGHT * WIDTH)
    private val image = FloatArray(HEIGHT * WIDTH * 3)

    /** The label of each of HEIGHT × WIDTH pixels, row by row. The picture may have any size. */
    fun segment(picture: Bitmap): ByteArray {
        val small = Bitmap.createScaledBitmap(picture, WIDTH, HEIGHT, true)
        small.getPixels(pixels, 0, WIDTH, 0, 0, WIDTH, HEIGHT)
        for (i in pixels.indices) {
            // Raw pixels, 0…255: the network normalises them itself.
            image[3 * i] = (pixels[i] shr 16 and 255).toFloat()
            image[3 * i + 1] = (pixels[i] shr 8 and 255).toFloat()
            image[3 * i + 2] = (pixels[i] and 255).toFloat()
        }
        inputs[0].writeFloat(image)
        model.run(inputs, outputs)
        val logits = outputs[0].readFloat()
        return ByteArray(HEIGHT * WIDTH) { pixel ->
            var best = 0
            for (label in 1 until CLASSES) {
                if (logits[pixel * CLASSES + label] > logits[pixel * CLASSES + best]) best = label
            }
            best.toByte()
        }
    }

    override fun close() {
        inputs.forEach { it.close() }
        outputs.forEach { it.close() }
        model.close()
    }

    companion object {
        const val HEIGHT = @height@
        const val WIDTH = @width@
        const val CLASSES = @classes@
    }
}
