from django.urls import path

from longboard.checkpoints import views

urlpatterns = [path("models/upload/", views.upload_model, name="upload-model")]
