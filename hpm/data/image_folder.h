// defines: load_image_folder(), load_unlabelled_folder()
#pragma once
#include <string>

#include "hpm/data/dataset.h"

namespace hpm {

/// A folder with one sub-folder a class, as torchvision's ImageFolder: the classes are the sub-folders in the order of
/// their names' bytes, the images those below them (JPEG, PNG) in the order of their folders, then of their names.
/// Hidden folders and files (.ipynb_checkpoints, __MACOSX, ._a.png) are left out, with a note.
/// Nothing is decoded but the first image, for its shape; the others are decoded when they are asked for, by several
/// threads. Throws Error for a class without images and for images of a kind that cannot be read.
Dataset load_image_folder(const std::string& folder, const ImageOptions& options);

/// The images of a folder, in sub-folders or not, in the same order, without labels.
Dataset load_unlabelled_folder(const std::string& folder, const ImageOptions& options);

}  // namespace hpm
