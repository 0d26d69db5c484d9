// Segments pictures with MediaPipe Tasks. In build.gradle.kts:
//
//     implementation("com.google.mediapipe:tasks-vision:0.10.26")  // or newer
//
// Put model_int8.tflite into src/main/assets. The labels are inside it.
package com.example.segmentation

import android.content.Context
import android.graphics.Bitmap
import com.google.mediapipe.framework.image.BitmapImageBuilder
import com.google.mediapipe.framework.image.ByteBufferExtractor
import com.google.mediapipe.tasks.core.BaseOptions
import com.google.mediapipe.tasks.vision.core.RunningMode
import com.google.mediapipe.tasks.vision.imagesegmenter.ImageSegmenter

class MediaPipeSegmenter(context: Context) : AutoCloseable {
    private val segmenter =
        ImageSegmenter.createFromOptions(
            context,
            ImageSegmenter.ImageSegmenterOptions.builder()
                .setBaseOptions(BaseOptions.builder().setModelAssetPath("model_int8.tflite").build())
                .setRunningMode(RunningMode.IMAGE)
                .setOutputCategoryMask(true)
                .setOutputConfidenceMasks(false)
                .build(),
        )

    /** The @classes@ classes, by label. */
    val labels: List<String>
        get() = segmenter.labels

    /** The label of each pixel, row by row. The picture may have any size and is an ARGB_8888 bitmap. */
    fun segment(picture: Bitmap): ByteArray {
        val mask = segmenter.segment(BitmapImageBuilder(picture).build()).categoryMask().get()
        val buffer = ByteBufferExtractor.extract(mask)
        return ByteArray(buffer.remaining()).also(buffer::get)
    }

    override fun close() = segmenter.close()
}
